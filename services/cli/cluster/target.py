"""The cluster behind a SyncTarget: which it is, our account in it, and what of ours is there."""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from services.cli.cluster import account
from services.cli.hub.connection import PAUSE
from services.cli.support.errors import CommandError
from shared.hub.names import OWNER_ANNOTATION, SYSTEM_NAMESPACE, field_manager, parse_owner
from shared.kube.applyset import APPLYSET_ID
from shared.kube.errors import ApiError
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS, NAMESPACES, SECRETS, Resource
from shared.model.refs import PlacementRef

if TYPE_CHECKING:
    from shared.kube.auth.kubeconfig import Credentials
    from shared.kube.client import Client

MANAGER: Final = field_manager("cluster")
TIMEOUT: Final = 15.0  # seconds for one request
TOKEN_WITHIN: Final = 30.0
"""Seconds within which a cluster puts a token into a Secret."""

ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", kind="ServiceAccount")
KINDS: Final = {each.kind: each for each in (NAMESPACES, ACCOUNTS, CLUSTERROLES, CLUSTERROLEBINDINGS, SECRETS)}


def credentials(path: Path, context: str = "") -> "Credentials":
    """What a kubeconfig file of an administrator says. Raises ConfigError."""
    from shared.kube.auth.kubeconfig import load_kubeconfig

    return load_kubeconfig(path, context or None)


def client(found: "Credentials") -> "Client":
    """A client of a cluster. Close it."""
    from shared.kube.client import Client

    return Client(found, user_agent=MANAGER, timeout=TIMEOUT)


async def identity(cluster: "Client") -> str:
    """The uid that says which cluster it is. Raises CommandError where it is not to be had, and KubeError."""
    from shared.hub.identity import identify

    found = await identify(cluster)
    if not found.uid:
        raise CommandError(f"nobody can say which cluster it is, since kube-system cannot be read: {found.problem}")
    return found.uid


async def apply(cluster: "Client", objects: Iterable[dict[str, Any]]) -> None:
    """Apply objects of the account, as its administrator."""
    for each in objects:
        await cluster.apply(KINDS[each["kind"]], each, field_manager=MANAGER, force=True)


async def new_token(cluster: "Client") -> tuple[str, str]:
    """A further token of the account, and the name of the Secret that it is good for as long as that is there.

    Raises CommandError where the cluster issues none in time; then there is no such Secret.
    """
    import asyncio

    name = f"{account.ACCOUNT}-token-{secrets.token_hex(4)}"
    await cluster.create(SECRETS, account.token_secret(name), field_manager=MANAGER)
    try:
        async with asyncio.timeout(TOKEN_WITHIN):
            while True:
                if token := account.token_in(await cluster.get(SECRETS, name, SYSTEM_NAMESPACE)):
                    return token, name
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        await cluster.delete(SECRETS, name, SYSTEM_NAMESPACE)
        raise CommandError(
            f"the cluster issued no token for {SYSTEM_NAMESPACE}/{account.ACCOUNT} within {TOKEN_WITHIN:g} s: its "
            "kube-controller-manager does not run, or not with the controller of tokens"
        ) from None


async def tokens(cluster: "Client") -> dict[str, str]:
    """The tokens of the account, each with the name of its Secret."""
    page = await cluster.list(SECRETS, SYSTEM_NAMESPACE, label_selector=account.SECRETS_SELECTOR)
    return {token: each["metadata"]["name"] for each in page.items if (token := account.token_in(each))}


async def placed(cluster: "Client") -> list[PlacementRef]:
    """The placements that have something in a cluster, as the cluster itself says."""
    page = await cluster.list(CONFIGMAPS, SYSTEM_NAMESPACE, label_selector=APPLYSET_ID)
    owners = ((each["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, "") for each in page.items)
    return sorted(ref for ref in map(parse_owner, owners) if ref is not None)


async def delete(cluster: "Client", kind: str, name: str) -> bool:
    """Delete a part of the account; whether it was there."""
    resource = KINDS[kind]
    try:
        await cluster.delete(resource, name, SYSTEM_NAMESPACE if resource.namespaced else "")
    except ApiError as error:
        if not error.not_found:
            raise
        return False
    return True

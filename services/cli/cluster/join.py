"""`moorage cluster join`: offer a cluster, by an account in it that may do what workers do there and no more."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.cluster import account, target
from services.cli.cluster.facts import readiness
from services.cli.cluster.hub import MANAGER, ClusterHub, opened
from services.cli.cluster.kubeconfig import stored
from services.cli.cluster.rights import subjects
from services.cli.hub.connection import PAUSE
from services.cli.hub.objects import as_yaml
from services.cli.support import offering
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note
from shared.api import get_condition
from shared.broker.tunnel.subjects import tunnel_id
from shared.hub.names import SYSTEM_NAMESPACE
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, NAMESPACES, SECRETS

if TYPE_CHECKING:
    from shared.kube.auth.kubeconfig import Credentials
    from shared.kube.client import Client

NETWORK_HINT = (
    "; where workers reach it by another address than you, give that as --server, and where the operator has to allow "
    "the address, see MOORAGE_TARGET_ALLOW in docs/deploy.md"
)
WITHHELD = "<withheld>"
DUPLICATE = "DuplicateCluster"


async def run(args: argparse.Namespace) -> None:
    """Join it, or print what would be applied."""
    labels = dict(map(_label, args.label))
    spec: dict[str, Any] = {"agent": {}} if args.agent else {}
    parts = account.account(args.resource, keep_namespaces=args.keep_namespaces)
    found = target.credentials(args.cluster_kubeconfig, args.cluster_context)
    if args.agent:
        _check_for_agent(found)
    async with opened(args) as hub, target.client(found) as cluster:
        uid = await target.identity(cluster)
        await _refuse_others(hub, args.name, uid)
        rights = await _rights(hub, args)
        offer = [offering.namespace(), offering.sync_target(args.name, labels, **spec), *rights]
        if args.dry_run:
            sys.stdout.write(_shown(args.name, parts, offer))
            return
        await _try(hub, args.name, offer)
        await target.apply(cluster, parts)
        note(f"the cluster has the account {SYSTEM_NAMESPACE}/{account.ACCOUNT}")
        token = await _known_token(hub, args.name, cluster) or (await target.new_token(cluster))[0]
        secret = offering.secret(args.name, _kubeconfig(found, token, args.server))
        for each in (secret, *offer[1:]):
            await hub.client.apply(_RESOURCES[each["kind"]], each, field_manager=MANAGER, force=True)
        note(f"the hub has its kubeconfig in the Secret {SYSTEM_NAMESPACE}/{offering.secret_name(args.name)}")
        if not rights and not await subjects(hub, args.name):
            note(f"nobody may use it yet: moorage cluster allow {args.name} --group GROUP")
        if args.agent:
            await _say_how_to_run_the_agent(hub, args.name)
        elif not args.no_wait:
            await _until_ready(hub, args.name, args.timeout)
    sys.stdout.write(f"{hub.named(args.name)} has joined\n")


_RESOURCES = {each.kind: each for each in (NAMESPACES, SECRETS, SYNCTARGETS, CLUSTERROLES, CLUSTERROLEBINDINGS)}


def _label(text: str) -> tuple[str, str]:
    key, is_given, value = text.partition("=")
    if not (key and is_given):
        raise UsageError(f"--label {text}: it takes KEY=VALUE")
    return key, value


def _kubeconfig(found: "Credentials", token: str, server: str) -> bytes:
    content = account.kubeconfig(found, token, server)
    from shared.kube.auth.kubeconfig import load_kubeconfig

    load_kubeconfig(content + b"\n")  # as workers read it: raises ConfigError here rather than there
    return content


def _check_for_agent(found: "Credentials") -> None:
    """Raises CommandError for a cluster whose server does not prove who it is."""
    from shared.hub.targets import check_for_tunnel
    from shared.kube.errors import NotAllowed

    try:
        check_for_tunnel(found)
    except NotAllowed as error:
        raise CommandError(str(error)) from None


async def _say_how_to_run_the_agent(hub: ClusterHub, name: str) -> None:
    found = await hub.target(name)
    tunnel = tunnel_id(hub.workspace, name, found.metadata.uid)
    note(
        f"its tunnel is {tunnel}; what is left to do: have NATS know its agent (moorage nats permissions --tunnel "
        f"{name}={tunnel}), and run that beside the cluster (moorage cluster agent {name})"
    )


async def _refuse_others(hub: ClusterHub, name: str, uid: str) -> None:
    """Raises CommandError where this cluster has joined by another name, or another one by this."""
    for known_id, known in (await hub.targets(everywhere=True)).items():
        same = known.status.cluster_uid == uid
        if known_id == hub.id(name):
            if known.status.cluster_uid and not same:
                raise CommandError(
                    f"{hub.named(name)} is another cluster: choose another name, or first have that one leave "
                    f"(moorage cluster leave {name})"
                )
        elif same:
            raise CommandError(
                f"this cluster has joined already, as {known_id.removeprefix('/')}: its capacity would be given away "
                f"twice. Use that one, or first have it leave (moorage cluster leave {known.metadata.name})"
            )


async def _rights(hub: ClusterHub, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Role and binding for those whom the flags allow, beside those who are allowed already; none for nobody."""
    wanted = [*map(offering.group, args.allow_group), *map(offering.user, args.allow_user)]
    if not wanted:
        return []
    known = await subjects(hub, args.name)
    more = [each for each in wanted if each not in known]
    return list(offering.right(args.name, [args.name], [*known, *more], entering=bool(hub.workspace)))


async def _try(hub: ClusterHub, name: str, offer: list[dict[str, Any]]) -> None:
    """Raises what the hub would say to any of this, before anything is done in the cluster."""
    await hub.client.apply(NAMESPACES, offer[0], field_manager=MANAGER, force=True)
    for each in (offering.secret(name, b""), *offer[1:]):
        await hub.client.apply(_RESOURCES[each["kind"]], each, field_manager=MANAGER, force=True, dry_run=True)


async def _known_token(hub: ClusterHub, name: str, cluster: "Client") -> str:
    """The token that the hub has for this cluster already, if that is one of the account; empty if there is none."""
    found = await hub.find(name)
    if found is None:
        return ""
    try:
        token = (await stored(hub, found)).token
    except CommandError:
        return ""  # it is written anew
    return token if token in await target.tokens(cluster) else ""


def _shown(name: str, parts: list[dict[str, Any]], offer: list[dict[str, Any]]) -> str:
    """Everything that would be applied, for people and for kubectl, but for what is secret."""
    token = {**account.token_secret(f"{account.ACCOUNT}-token"), "data": {"token": WITHHELD}}
    secret = offering.secret(name, b"")
    secret["data"] = {offering.KEY: WITHHELD}
    hub = [offer[0], secret, *offer[1:]]
    return f"# in the cluster\n{as_yaml([*parts, token])}# on the hub\n{as_yaml(hub)}"


async def _until_ready(hub: ClusterHub, name: str, timeout: float) -> None:
    """Wait, and say what is waited for whenever that changes. Raises CommandError when it takes too long."""
    import asyncio

    said = ""
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await hub.target(name)
                ready, why = readiness(found)
                if ready:
                    return
                state = get_condition(found.status.conditions, "Ready")
                if state is not None and state.reason == DUPLICATE:
                    raise CommandError(
                        f"{hub.named(name)} is not used: {why}. Take it back by `moorage cluster leave {name}`"
                    )
                if why != said:
                    note(f"waiting: {why}")
                    said = why
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise CommandError(
            f"{hub.named(name)} is offered, and not Ready after {timeout:g} s: {said or 'no answer from the hub'}"
            f"{NETWORK_HINT}"
        ) from None

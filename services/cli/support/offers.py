"""World files as far as they offer clusters: our CRDs in the workspaces, and a SyncTarget per cluster."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from services.cli.support import offering
from services.cli.support.errors import CommandError, UsageError
from shared.hub.names import field_manager

if TYPE_CHECKING:
    from shared.kube.client import Client

MANAGER = field_manager("world")


class Offer(msgspec.Struct, rename="camel"):
    """One cluster of a world file, as far as it is offered: what its SyncTarget and the RBAC around it say."""

    name: str
    workspace: str
    labels: dict[str, str] = {}
    taints: list[dict[str, str]] = []
    groups: list[str] = []
    allowed_workspaces: list[str] = []
    allocated: dict[str, str] = {}
    cost: dict[str, Any] | None = None


class KnownUser(msgspec.Struct):
    """A user of a world file: who may be spoken for in which workspaces, by their name."""

    name: str
    groups: list[str] = []
    workspaces: dict[str, str] = {}


class Content(msgspec.Struct):
    """Files of a world's folder that a user applies in a workspace.

    `publish`: further files, each with a Placement, which the user asks for over NATS, once the others are applied.
    """

    workspace: str
    user: str
    files: list[str]
    publish: list[str] = []


class ManifestWorld(msgspec.Struct, rename="camel"):
    """The part of a world file that concerns offering; the sandbox reads the rest.

    `trusted_providers` are the workspaces whose targets are candidates for everybody, as discovery's setting of that
    name has them; None: all that offer any in the file.
    """

    workspaces: list[str] = []
    users: list[KnownUser] = []
    targets: list[Offer] = []
    content: list[Content] = []
    trusted_providers: list[str] | None = None

    @property
    def trusted(self) -> list[str]:
        """The workspaces whose targets are candidates for everybody."""
        if self.trusted_providers is None:
            return sorted({offer.workspace for offer in self.targets})
        return self.trusted_providers


def read(path: Path) -> ManifestWorld:
    """A world file; raises UsageError, which says what is wrong and where."""
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), ManifestWorld)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None


def users_file(world: ManifestWorld) -> bytes:
    """The users of a world as the intake worker is told of them (setting `users_file`); JSON is YAML."""
    users = [
        {"user": user.name, "workspaces": sorted(user.workspaces), "username": user.name, "groups": user.groups}
        for user in world.users
        if not user.name.startswith("system:")
    ]
    return msgspec.json.encode({"users": [user for user in users if user["workspaces"]]})


async def apply(world: ManifestWorld, kubeconfig: Path, targets: Path) -> int:
    """Install the CRDs and offer the clusters; returns how many. Raises KubeError, and UsageError for a file."""
    from shared.api.generate.crds import crd
    from shared.api.resources import RESOURCES
    from shared.hub.hub import Hub
    from shared.kube.auth.kubeconfig import load_kubeconfig
    from shared.kube.client import Client
    from shared.kube.resources import CRDS

    kubeconfigs = {offer.name: _kubeconfig(targets / f"target-{offer.name}.kubeconfig") for offer in world.targets}
    async with Client(load_kubeconfig(kubeconfig), user_agent=MANAGER) as client:
        hub = Hub(client, "kcp")
        definitions = [crd(resource) for resource in RESOURCES]
        for path in world.workspaces:
            workspace = hub.at(path)
            await asyncio.gather(*(workspace.apply(CRDS, each, field_manager=MANAGER) for each in definitions))
        for offer in world.targets:
            await _offer(hub.at(offer.workspace), offer, kubeconfigs[offer.name])
        for path in {offer.workspace for offer in world.targets}:
            open_to_all = [offer.name for offer in world.targets if offer.workspace == path and not offer.groups]
            await _allow(hub.at(path), "offered", open_to_all, ["system:authenticated"])
    return len(world.targets)


def _kubeconfig(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


async def until_ready(world: ManifestWorld, kubeconfig: Path, by: float) -> None:
    """Wait until discovery has found every cluster of a world ready; raises CommandError when the loop's time is `by`
    before that."""
    from shared.hub.hub import Hub
    from shared.hub.resources import SYNCTARGETS
    from shared.kube.auth.kubeconfig import load_kubeconfig
    from shared.kube.client import Client
    from shared.kube.informer import Informer

    missing = {(offer.workspace, offer.name) for offer in world.targets}

    async def follow(workspace: str, client: Client) -> None:
        async with Informer(client, SYNCTARGETS) as targets:
            async for change in targets.events():
                if change.object is not None and _is_ready(change.object):
                    missing.discard((workspace, change.key[1]))
                if not any(path == workspace for path, _ in missing):
                    return

    async with Client(load_kubeconfig(kubeconfig), user_agent=MANAGER) as client:
        hub = Hub(client, "kcp")
        try:
            async with asyncio.timeout_at(by):
                await asyncio.gather(*(follow(path, hub.at(path)) for path in {path for path, _ in missing}))
        except TimeoutError:
            names = ", ".join(name for _, name in sorted(missing)[:5])
            raise CommandError(f"these clusters are not ready in time (--wait-timeout): {names}") from None


def _is_ready(target: dict[str, Any]) -> bool:
    conditions = (target.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


async def _offer(workspace: "Client", offer: Offer, kubeconfig: bytes) -> None:
    from shared.hub.resources import SYNCTARGETS
    from shared.kube.resources import NAMESPACES, SECRETS

    await workspace.apply(NAMESPACES, offering.namespace(), field_manager=MANAGER)
    await workspace.apply(SECRETS, offering.secret(offer.name, kubeconfig), field_manager=MANAGER)
    spec: dict[str, Any] = {}
    if offer.taints:
        spec["taints"] = offer.taints
    if offer.allowed_workspaces:
        spec["allowedWorkspaces"] = {"paths": offer.allowed_workspaces}
    if offer.cost:
        spec["cost"] = offer.cost
    target = offering.sync_target(offer.name, offer.labels, **spec)
    await workspace.apply(SYNCTARGETS, target, field_manager=MANAGER)
    if offer.allocated:  # what others run there, as long as discovery has not counted the pods itself
        status = {"status": {"allocated": offer.allocated}}
        await workspace.merge_patch(SYNCTARGETS, offer.name, status, subresource="status", field_manager=MANAGER)
    if offer.groups:
        await _allow(workspace, offer.name, [offer.name], offer.groups)


async def _allow(workspace: "Client", name: str, targets: list[str], groups: Iterable[str]) -> None:
    """Let groups use targets: the verb `use` on these SyncTargets, by ClusterRole and ClusterRoleBinding."""
    from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES

    role, binding = offering.right(name, targets, map(offering.group, groups))
    await workspace.apply(CLUSTERROLES, role, field_manager=MANAGER)
    await workspace.apply(CLUSTERROLEBINDINGS, binding, field_manager=MANAGER)

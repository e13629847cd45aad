"""The hub as the commands of clusters see it: SyncTargets of one workspace, and what is placed from all."""

import argparse
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from services.cli.cluster.facts import Occupant
from services.cli.hub.connection import open_client
from services.cli.support.errors import CommandError, UsageError
from shared.api import SyncTarget, decode_binding, decode_synctarget
from shared.hub.names import field_manager
from shared.hub.resources import BINDINGS, SYNCTARGETS, WORKSPACES
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef, TargetRef

if TYPE_CHECKING:
    from shared.hub.hub import Hub
    from shared.kube.client import Client

MANAGER: Final = field_manager("cluster")
AT_ONCE: Final = 16
"""Workspaces that are looked into at once."""

MOST_WORKSPACES: Final = 10_000
Object = dict[str, Any]


class ClusterHub:
    """SyncTargets of one workspace, and what is placed in them from all workspaces that the caller may see."""

    def __init__(self, hub: "Hub", workspace: str) -> None:
        self.hub = hub
        self.workspace = workspace
        self.client: Client = hub.at(workspace)

    def id(self, name: str) -> str:
        """The id of a target of this workspace."""
        return TargetRef(workspace=self.workspace, name=name).id

    def named(self, name: str) -> str:
        """A target as people name it."""
        return self.id(name).removeprefix("/")

    async def target(self, name: str) -> SyncTarget:
        """One SyncTarget. Raises CommandError where there is none of that name."""
        found = await self.find(name)
        if found is None:
            where = f"workspace {self.workspace}" if self.workspace else "the hub"
            raise CommandError(f"{where} offers no cluster {name}; `moorage cluster list` names them")
        return found

    async def find(self, name: str) -> SyncTarget | None:
        """One SyncTarget; None where there is none of that name."""
        try:
            return decode_synctarget(await self.client.get(SYNCTARGETS, name))
        except ApiError as error:
            if error.absent(name):
                return None
            if error.not_found:
                raise CommandError(
                    "this hub serves no SyncTargets: has Moorage been installed (`moorage install kubernetes`, or "
                    "deploy/kcp), and is this the workspace that offers clusters (--workspace)?"
                ) from None
            raise

    async def targets(self, *, everywhere: bool = False) -> dict[str, SyncTarget]:
        """SyncTargets by id: of this workspace, or of all that the caller may see."""
        offered = await self.of_all(SYNCTARGETS, await self.workspaces()) if everywhere else {}
        if not any(offered.values()):
            offered = await self.of_all(SYNCTARGETS, [self.workspace], must=self.workspace)
        found: dict[str, SyncTarget] = {}
        for path, objects in offered.items():
            for each in map(decode_synctarget, objects):
                found[TargetRef(workspace=path, name=each.metadata.name).id] = each
        return found

    async def placed(self, *targets: str) -> list[Occupant]:
        """What is placed in these targets (ids; none given: in any), in order, from all workspaces in sight."""
        found = []
        for path, objects in (await self.of_all(BINDINGS, await self.workspaces())).items():
            for binding in map(decode_binding, objects):
                target = TargetRef.of(binding.spec.target).id
                if not targets or target in targets:
                    ref = PlacementRef(
                        workspace=path, namespace=binding.metadata.namespace, name=binding.spec.placement_ref.name
                    )
                    found.append(Occupant(ref, target, binding))
        return sorted(found, key=lambda each: (each.placement, each.target))

    async def workspaces(self) -> list[str]:
        """All workspaces of the tree that the caller may see, from the root of this one on; [""] on Kubernetes."""
        if self.hub.kind == "kubernetes":
            return [self.workspace]
        found, due = [], [self.workspace.partition(":")[0]]
        while due:
            found += due
            if len(found) > MOST_WORKSPACES:
                raise CommandError(f"there are more than {MOST_WORKSPACES} workspaces")
            below = await self.of_all(WORKSPACES, due)
            due = [f"{path}:{each['metadata']['name']}" for path, each in _pairs(below)]
        return sorted({*found, self.workspace})

    async def of_all(
        self, resource: Resource, paths: Iterable[str], *, must: str | None = None
    ) -> dict[str, list[Object]]:
        """The objects of a kind by workspace, in order; none of a workspace that the caller may not look into, or that
        does not serve the kind. Where that is the one which `must` be seen, it raises ApiError.
        """
        import asyncio

        slots, paths = asyncio.Semaphore(AT_ONCE), list(paths)

        async def of(path: str) -> list[Object]:
            try:
                async with slots:
                    return (await self.hub.at(path).list(resource)).items
            except ApiError as error:
                if path != must and (error.forbidden or error.not_found):
                    return []
                raise

        return dict(zip(paths, await asyncio.gather(*map(of, paths)), strict=True))

    async def change(self, target: SyncTarget, spec: Mapping[str, Any]) -> SyncTarget:
        """Change fields of a SyncTarget, on condition that nobody changed it since it was read."""
        version = target.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        try:
            changed = await self.client.merge_patch(SYNCTARGETS, target.metadata.name, patch, field_manager=MANAGER)
        except ApiError as error:
            if error.conflict:
                raise CommandError(f"somebody else changes {target.metadata.name} at this moment: try again") from None
            raise
        return decode_synctarget(changed)


def _pairs(objects: Mapping[str, list[Object]]) -> Iterable[tuple[str, Object]]:
    return ((path, each) for path, found in objects.items() for each in found)


@asynccontextmanager
async def opened(args: argparse.Namespace) -> AsyncIterator[ClusterHub]:
    """The hub that the flags name. Raises ConfigError, and UsageError for what is no workspace."""
    from shared.hub.hub import Hub  # not before: it loads what counts requests, and help is to be there at once

    async with open_client(args.kubeconfig) as client:
        workspace = args.workspace or os.environ.get("MOORAGE_WORKSPACE") or client.base.partition("/clusters/")[2]
        try:
            yield ClusterHub(Hub(client, "kcp" if workspace else "kubernetes"), workspace)
        except ValueError as error:
            if workspace and "workspace path" in str(error):
                raise UsageError(str(error)) from None
            raise

"""The running system as a plane on paper: targets, policies and reservations from NATS, Placements from the hub."""

import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from services.cli.hub.placed import placed
from services.cli.offline.changes import PlannedChange
from services.cli.offline.objects import Manifest
from services.cli.offline.plane import Plane, plane_of
from services.cli.planning.forecast import Forecast
from services.cli.planning.whatif import WhatIf
from services.cli.support.broker import broker
from services.cli.support.manifests import of_kind
from services.controller.settings import ControllerSettings
from shared.broker.store import Store
from shared.broker.table import Table
from shared.hub.access import DENIED, AccessReviews
from shared.hub.hub import Hub, open_hub
from shared.hub.names import field_manager
from shared.model.refs import TargetRef
from shared.model.request import Requester
from shared.pipeline.buckets import INVENTORY, POLICIES, RESERVATIONS, WORKSPACES
from shared.process.settings import HubSettings


@dataclass(frozen=True)
class SystemOnPaper:
    """A running system on paper: the plane, the Placements with what they select, and the hub that they are on."""

    plane: Plane
    manifests: list[Manifest]
    hub: Hub


def everywhere(path: str) -> bool:  # noqa: ARG001 - whatever the path
    """Of all workspaces."""
    return True


@asynccontextmanager
async def running(settings: HubSettings, of: Callable[[str], bool] = everywhere) -> AsyncIterator[SystemOnPaper]:
    """What there is now, with the placements of those workspaces (by path). Raises KubeError, and CommandError where
    NATS does not answer."""
    async with broker(settings) as (_, store), open_hub(settings, field_manager("plan")) as hub:
        paths = [entry.value.path for entry in await Table(store, WORKSPACES).entries()]
        manifests: list[Manifest] = []
        decisions: list[Manifest] = []
        for path in filter(of, paths):
            found, decided = await placed(hub, path)
            manifests += found
            decisions += decided
        yield SystemOnPaper(await in_force(store, plane_of((), manifests, (), decisions)), manifests, hub)


async def foretold(
    settings: ControllerSettings, what_if: WhatIf, after: float, of: Callable[[str], bool] = everywhere
) -> tuple[list[PlannedChange], list[str]]:
    """What would become of placements in the running system, and whose labels nobody knows. Raises as `running`, and
    what forecasts raise."""
    async with running(settings, of) as found:
        access = AccessReviews(found.hub, settings, time.monotonic)

        async def denied(requester: Requester | None, targets: Collection[str]) -> set[str]:
            permissions = await access.may_use(requester, sorted(targets))
            return {target for target, each in permissions.items() if each in DENIED}

        try:
            forecast = Forecast(found.plane, settings, time.time(), after, denied)
            said = await forecast.of(of_kind(found.manifests, "Placement"), what_if)
            return said, forecast.unknown()
        finally:
            await access.close()


async def in_force(store: Store, plane: Plane) -> Plane:
    """The same placements on the targets that there are now, with the policies and reservations."""
    paths = {entry.value.path: entry.value for entry in await Table(store, WORKSPACES).entries()}
    found = replace(plane, workspaces=paths).on(
        [entry.value for entry in await Table(store, INVENTORY).entries()],
        tuple(entry.value for entry in await Table(store, POLICIES).entries()),
    )
    for entry in await Table(store, RESERVATIONS).entries():
        if entry.value.placement.name:
            found.snapshot.reserve(TargetRef.owning(entry.key).id, entry.value)
    return found

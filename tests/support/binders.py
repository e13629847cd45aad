"""Binders at work on a scene, each as if in a process of its own."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from services.binding.binder import Binder
from services.binding.records import Records
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.workload import Workloads
from shared.broker.table import Table
from shared.hub.access import AccessReviews
from shared.hub.hub import Hub
from shared.hub.targets import TargetClients
from shared.pipeline.buckets import INVENTORY, KINDS, REPORTS
from shared.pipeline.messages import Bound
from tests.support.perimeter import BESIDE_US
from tests.support.scene import Scene, follow


@contextlib.asynccontextmanager
async def binders(scene: Scene) -> AsyncIterator[Callable[..., Binder]]:
    """Makes Binders, of these settings."""
    hub = Hub(scene.hub, "kcp")
    clients: list[TargetClients] = []

    async def publish(bound: Bound) -> None:
        scene.bound.append(bound)

    async with follow(scene, INVENTORY, REPORTS) as (inventory, reports):
        scene.inventory = inventory

        def make(**settings: Any) -> Binder:
            chosen = BindingSettings(**{"health_seconds": 0.0, **settings})
            clients.append(TargetClients(hub, user_agent="test", timeout=5.0, perimeter=BESIDE_US))
            access = AccessReviews(hub, chosen, scene.clock)
            return Binder(
                chosen,
                records=Records(hub),
                access=access,
                workloads=Workloads(hub, access, Table(scene.store, KINDS).follow()),
                reach=Reach(chosen, clients[-1], inventory, scene.clock),
                reports=reports,
                publish=publish,
                clock=scene.clock,
            )

        yield make
        for each in clients:
            await each.close()

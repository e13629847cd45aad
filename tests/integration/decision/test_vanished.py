"""A workspace that the hub says is gone, and clocks that are set."""

import asyncio
from pathlib import Path

from services.decision.ledger import key_of
from services.decision.rebuild import MARKER
from services.decision.settings import DecisionSettings
from services.decision.worker import clear_vanished, open_decision
from services.sandbox.run import serve
from services.sandbox.world.world import World
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.pipeline.buckets import BUCKETS, RESERVATIONS
from shared.pipeline.runtime import Runtime
from tests.support.waiting import until

BOUND = 20.0
LOST = PlacementRef(workspace="root:lost", namespace="apps", name="web")


async def test_a_clock_that_is_set_forward_does_not_shorten_the_grace(tmp_path: Path) -> None:
    store, now = MemoryStore(), [1e9]
    await store.provision(BUCKETS)
    reservation = Reservation(placement=LOST, head=Head(uid="u", generation=1, attempt=1), resources={"cpu": 1.0})
    for key in (MARKER, key_of("root:platform/east", LOST)):
        await Table(store, RESERVATIONS).put(key, reservation)
    async with (
        serve(World(workspaces=["root:team"], serves=[]), "127.0.0.1", 0, tmp_path) as sandbox,
        asyncio.timeout(BOUND),
        asyncio.TaskGroup() as tasks,
    ):
        settings = DecisionSettings(kubeconfig=str(sandbox.kubeconfigs["admin"]), hub="kcp", vanished_seconds=3600.0)
        runtime = Runtime(settings, MemoryBus(), store, tasks, clock=lambda: now[0])
        async with open_decision(runtime) as deps:
            await until(lambda: list(deps.ledger.holders()))
            assert await deps.vanished.among({LOST.workspace}) == set()
            now[0] += 4000.0
            assert await clear_vanished(deps) == []
        await runtime.end()

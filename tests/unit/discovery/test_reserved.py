"""Which placements have a reservation in which target."""

import asyncio

from services.discovery.reserved import Reserved
from services.discovery.room import Occupancy
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.pipeline.buckets import BUCKETS, RESERVATIONS, RESERVATIONS_COMPLETE
from tests.support import waiting

HEAD = Head(uid="1", generation=1, attempt=1)
WEB, API = (PlacementRef(workspace="root:team", namespace="shop", name=name) for name in ("web", "api"))
EAST, WEST = (TargetRef(workspace="root:platform", name=name) for name in ("east", "west"))


async def test_reservations_are_known_by_target_as_they_come_and_go():
    store = MemoryStore()
    await store.provision(BUCKETS)
    table = Table(store, RESERVATIONS)
    view = table.follow()
    reserved = Reserved(view)

    async def put(target: TargetRef, ref: PlacementRef, released_at: float = 0.0) -> None:
        held = Reservation(placement=ref, head=HEAD, resources={}, released_at=released_at)
        await table.put(f"{target.key}.{ref.key}", held)

    async def becomes(target: TargetRef, expected: set[PlacementRef] | None) -> None:
        await waiting.until(lambda: reserved.in_target(target.id), "so reserved", holds=lambda found: found == expected)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(view.run()), tasks.create_task(reserved.follow())]
        await put(EAST, WEB)
        await becomes(EAST, None)
        await table.put(RESERVATIONS_COMPLETE, Reservation(placement=WEB, head=HEAD, resources={}))
        await becomes(EAST, {WEB})
        await put(EAST, API)
        await put(WEST, API)
        await becomes(EAST, {WEB, API})
        await becomes(WEST, {API})
        await put(EAST, WEB, released_at=1.0)
        await table.delete(f"{WEST.key}.{API.key}")
        await becomes(EAST, {API})
        await becomes(WEST, set())
        for task in running:
            task.cancel()


def test_while_it_is_not_read_nobody_is_said_to_have_none():
    store = MemoryStore()
    view = Table(store, RESERVATIONS).follow()
    assert Reserved(view).in_target(EAST.id) is None


async def test_what_is_reserved_is_added_up_and_a_hold_is_no_placement():
    store = MemoryStore()
    await store.provision(BUCKETS)
    table = Table(store, RESERVATIONS)
    view = table.follow()
    reserved = Reserved(view)
    held = {WEB: {"cpu": 1.0}, API: {"cpu": 0.5, "pods": 2.0}}
    for ref, resources in held.items():
        until = 1.0 if ref is API else 0.0
        entry = Reservation(placement=ref, head=HEAD, resources=resources, until=until)
        await table.put(f"{EAST.key}.{ref.key}", entry)
    assert reserved.occupancy(EAST.id) is None
    await table.put(RESERVATIONS_COMPLETE, Reservation(placement=WEB, head=HEAD, resources={}))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(view.run()), tasks.create_task(reserved.follow())]
        expected = Occupancy(1, {"cpu": 1.5, "pods": 2.0})
        await waiting.until(
            lambda: reserved.occupancy(EAST.id), "it is added up", holds=lambda found: found == expected
        )
        assert reserved.occupancy(WEST.id) == Occupancy(0, {})
        for task in running:
            task.cancel()

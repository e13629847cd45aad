"""What is written into buckets has placements looked at, and what is no key of ours ends nothing."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.controller.agenda import Agenda
from services.controller.upkeep import named, touch_by_key
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.refs import Head, PlacementRef, PolicyRef, TargetRef
from shared.model.request import HeadEntry
from shared.pipeline.buckets import BUCKETS, HEADS
from tests.support.waiting import until

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
ENTRY = HeadEntry(head=Head(uid="u", generation=1, attempt=1), digest="a.b.c", requested_at=1.0)


@asynccontextmanager
async def working(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()


async def test_a_placement_of_which_a_bucket_has_another_entry_is_looked_at_whatever_else_was_written() -> None:
    store = MemoryStore()
    await store.provision(BUCKETS)
    agenda, table = Agenda(), Table(store, HEADS)
    view = table.follow()
    async with working(view.run(), touch_by_key(agenda, view)):
        for garbage in ("x", "a.b", "a.b.c.d"):
            await store.raw(HEADS).put(garbage, b"garbage")
        await table.put(REF.key, ENTRY)
        await until(lambda: agenda.due(0.0, world_changed=False) == [REF])


@pytest.mark.parametrize("parse", [TargetRef.from_key, PolicyRef.from_key, PlacementRef.from_key])
def test_keys_of_another_shape_stand_for_nobody(parse) -> None:
    assert list(named(parse, ["", "x", "a.b.c.d.e"])) == []

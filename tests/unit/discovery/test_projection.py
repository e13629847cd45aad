"""Bringing a bucket in line with what is wanted in it."""

import asyncio
import contextlib

import pytest

from services.discovery.projection import Projection
from shared.broker.bus import BusError
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES

BOUND = 5.0


@pytest.fixture
def table():
    return Table(MemoryStore(), WORKSPACES)


@contextlib.asynccontextmanager
async def projecting(table):
    view = table.follow()
    projection = Projection(table, view)
    tasks = [asyncio.create_task(view.run()), asyncio.create_task(projection.run())]
    async with asyncio.timeout(BOUND):
        await view.synced.wait()
    try:
        yield projection
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def workspace(path="root:a", **labels):
    return Workspace(path=path, labels=labels)


async def settled(projection, key, value):
    """Wait until nothing more is to be written and `key` holds `value`."""
    async with asyncio.timeout(BOUND):
        while projection.view.get(key) != value or projection.latest("other") is not None:
            await projection.view.moved(projection.view.revision)


async def test_what_is_wanted_is_written_once(table):
    async with projecting(table) as projection:
        for _ in range(3):
            projection.want("a", workspace())
        assert projection.latest("a") == workspace()
        await settled(projection, "a", workspace())
        revision = projection.view.revision
        projection.want("a", workspace())
        projection.want("b", workspace("root:b"))
        await settled(projection, "b", workspace("root:b"))
        assert projection.view.revision == revision + 1


async def test_the_newest_wish_wins(table):
    async with projecting(table) as projection:
        projection.want("a", workspace(one="1"))
        projection.want("a", workspace(two="2"))
        await settled(projection, "a", workspace(two="2"))
        projection.want("a", None)
        assert projection.latest("a") is None
        await settled(projection, "a", None)
        projection.want("a", workspace(three="3"))
        await settled(projection, "a", workspace(three="3"))


async def test_what_another_copy_wrote_meanwhile_is_written_over(table):
    async with projecting(table) as projection:
        projection.want("a", workspace(mine="1"))
        await table.put("a", workspace(theirs="1"))  # our view has not seen it when we write
        await settled(projection, "a", workspace(mine="1"))


async def test_what_another_copy_wrote_meanwhile_is_taken_into_account(table):
    def both(stored):
        labels = {} if stored is None else stored.labels
        return workspace(**{**labels, "mine": "1"})

    async with projecting(table) as projection:
        projection.want("a", both(None), both)
        await table.put("a", workspace(theirs="1"))
        await settled(projection, "a", workspace(theirs="1", mine="1"))


async def test_what_another_copy_made_anew_is_not_deleted(table):
    async with projecting(table) as projection:
        await table.put("a", workspace(old="1"))
        await projection.view.moved(0)
        projection.want("a", None, lambda stored: None if stored is None or "old" in stored.labels else stored)
        await table.put("a", workspace(new="1"))
        projection.want("b", workspace("root:b"))
        await settled(projection, "b", workspace("root:b"))
        assert projection.view.get("a") == workspace(new="1")
        assert projection.latest("a") == workspace(new="1")


@pytest.mark.parametrize("wish", [workspace(mine="1"), None])
async def test_what_nobody_can_read_is_written_over(table, wish):
    async with projecting(table) as projection:
        await table._raw.put("a", b"garbage")
        projection.want("a", workspace(mine="1"))
        await settled(projection, "a", workspace(mine="1"))
        await table._raw.put("a", b"garbage")
        projection.want("a", wish and workspace(mine="2"))
        await settled(projection, "a", wish and workspace(mine="2"))


class Failing(Table):
    """A table whose broker is away for some writes."""

    failures = 2

    async def update(self, key, value, revision, *, within=None):
        if self.failures:
            self.failures -= 1
            raise BusError("no answer")
        return await super().update(key, value, revision, within=within)


async def test_a_broker_that_is_away_is_tried_again(monkeypatch):
    monkeypatch.setattr("services.discovery.projection.backoff", lambda attempt: 0.001 * attempt)
    table = Failing(MemoryStore(), WORKSPACES)
    async with projecting(table) as projection:
        projection.want("a", workspace())
        await settled(projection, "a", workspace())
        assert table.failures == 0


async def test_what_no_bucket_can_hold_does_not_hold_up_the_rest(table, caplog):
    async with projecting(table) as projection:
        projection.want("big", workspace(text="x" * 2_000_000))
        projection.want("a", workspace())
        await settled(projection, "a", workspace())
    assert "entry left out" in caplog.text

"""What a view of a bucket promises, on every implementation of the state."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.broker.memory.store import MemoryStore
from shared.broker.nats.store import NatsStore, bucket_name
from shared.broker.store import Bucket, Conflict, Store
from shared.broker.table import Entry, Table, View
from shared.broker.tokens import join, split


async def following(store: Store, bucket: Bucket[Any]) -> tuple[View[Any], "asyncio.Task[None]"]:
    view = Table(store, bucket).follow()
    return view, asyncio.create_task(view.run())


@pytest.fixture
async def view(store: Store, bucket: Bucket[Any]) -> AsyncIterator[View[Any]]:
    view, running = await following(store, bucket)
    yield view
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_view_knows_when_it_has_seen_a_revision(store: Store, bucket: Bucket[Any], view: View[Any]) -> None:
    table = Table(store, bucket)
    revision = await table.put("a", {"n": 1})
    assert await view.reached(revision, 10.0)
    assert view.get("a") == {"n": 1}
    deleted = await table.delete("a")
    assert await view.reached(deleted, 10.0)
    assert view.get("a") is None
    assert not await view.reached(deleted + 1, 0.05)


async def test_a_view_that_begins_after_a_deletion_has_seen_it(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.put("a", {})
    await table.put("b", {})
    deleted = await table.delete("a")
    view, running = await following(store, bucket)
    assert await view.reached(deleted, 10.0)
    assert set(view.entries) == {"b"}
    running.cancel()


async def test_a_view_tells_that_it_moved(store: Store, bucket: Bucket[Any], view: View[Any]) -> None:
    async with asyncio.timeout(10):
        await view.synced.wait()
        waiting = asyncio.create_task(view.moved(view.revision))
        revision = await Table(store, bucket).put("a", {})
        assert await waiting == revision


async def test_a_view_tells_which_keys_changed_all_present_ones_first(
    store: Store, bucket: Bucket[Any], view: View[Any]
) -> None:
    table = Table(store, bucket)
    await table.put("a", {})
    last = await table.put("b", {})
    assert await view.reached(last, 10.0)
    changes = view.changes()
    async with asyncio.timeout(10):
        assert await anext(changes) == {"a", "b"}
        await table.put("a", {"n": 1})
        last = await table.delete("b")
        assert await view.reached(last, 10.0)
        assert await anext(changes) == {"a", "b"}
        await table.put("c", {})
        assert await anext(changes) == {"c"}
    await changes.aclose()  # type: ignore[attr-defined]


async def test_any_name_makes_a_key_that_works(store: Store, bucket: Bucket[Any], view: View[Any]) -> None:
    table = Table(store, bucket)
    names = ("root:org.team", "späce d", "*", ">", "", "\x00\n", "🚢", "a.b..c")
    revision = await table.put(join(*names), {"n": 1})
    assert await view.reached(revision, 10.0)
    (key,) = view.entries
    assert split(key) == names
    assert [split(entry.key) for entry in await table.entries(join(*names[:3]))] == [names]
    assert await table.get(key) is not None


async def test_an_entry_that_cannot_be_read_is_left_out_and_the_others_are_followed(
    store: Store, bucket: Bucket[Any], view: View[Any], caplog: pytest.LogCaptureFixture
) -> None:
    table, raw = Table(store, bucket), store.raw(bucket)
    first = await table.put("a", {"n": 1})
    assert await view.reached(first, 5.0)
    for bad in (b'{"n":null}', b"nonsense", b"\xff"):
        await raw.put("a", bad)
    await raw.put("never.read", b"[]")
    last = await table.put("b", {"n": 2})
    assert await view.reached(last, 5.0)
    assert view.entries == {"b": Entry("b", {"n": 2}, last)}
    assert set(view.unreadable) == {"a", "never.read"}
    assert f"entry never.read of bucket {bucket.name} is not readable" in str(
        [each.__dict__ for each in caplog.records]
    )
    assert await table.get("a") is None
    assert [entry.key for entry in await table.entries()] == ["b"]
    with pytest.raises(Conflict):
        await table.update("a", {"n": 3}, first)
    again = await table.update("a", {"n": 3}, 0)
    assert await view.reached(again, 5.0)
    assert view.get("a") == {"n": 3}
    assert set(view.unreadable) == {"never.read"}


async def test_a_view_that_reads_again_drops_what_is_not_there_any_more(
    store: Store, bucket: Bucket[Any], view: View[Any]
) -> None:
    table = Table(store, bucket)
    await table.put("gone", {"n": 1})
    last = await table.put("kept", {"n": 2})
    assert await view.reached(last, 5.0)
    await purge(store, bucket, "gone")
    told = view.changes()
    assert await anext(told) == {"gone", "kept"}
    view.reread()
    async with asyncio.timeout(5.0):
        assert "gone" in await anext(told)
    assert set(view.entries) == {"kept"}
    await told.aclose()
    assert not view.holds(last), "what refers to the time before is not to be judged by what is left"
    assert view.holds(newer := await table.put("new", {})) or await view.reached(newer, 5.0)


async def test_a_view_that_saw_a_deletion_has_lost_nothing(store: Store, bucket: Bucket[Any], view: View[Any]) -> None:
    table = Table(store, bucket)
    first = await table.put("a", {})
    assert await view.reached(first, 5.0)
    deleted = await table.delete("a")
    assert await view.reached(deleted, 5.0)
    assert view.holds(first)


async def purge(store: Store, bucket: Bucket[Any], key: str) -> None:
    """Take a key out of a bucket so that no watch tells of it, as an administrator may."""
    if isinstance(store, MemoryStore):
        store.raw(bucket)._last.pop(key)
    else:
        assert isinstance(store, NatsStore)
        name = bucket_name(bucket)
        await store._client.api(f"STREAM.PURGE.KV_{name}", {"filter": f"$KV.{name}.{key}"})

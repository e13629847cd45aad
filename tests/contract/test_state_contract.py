"""What the state promises, on every implementation of it."""

import asyncio
import contextlib
from typing import Any

import pytest

from shared.broker.store import MOST_SINCE, Bucket, Conflict, Raw, Store
from shared.broker.table import Entry, Table


async def test_what_was_put_is_got_with_its_revision(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    assert await table.get("a.b") is None
    revision = await table.put("a.b", {"n": 1})
    assert await table.get("a.b") == Entry("a.b", {"n": 1}, revision)
    assert await table.get("a") is None


async def test_revisions_grow_over_the_whole_bucket(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    revisions = [
        await table.put("a", {}),
        await table.put("b", {}),
        await table.delete("a"),
        await table.update("a", {}, 0),
        await table.put("b", {}),
    ]
    assert revisions == sorted(set(revisions))


async def test_create_succeeds_once(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.update("a", {"n": 1}, 0)
    with pytest.raises(Conflict):
        await table.update("a", {"n": 2}, 0)
    entry = await table.get("a")
    assert entry is not None
    assert entry.value == {"n": 1}


async def test_update_needs_the_last_revision(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    first = await table.put("a", {"n": 1})
    second = await table.update("a", {"n": 2}, first)
    with pytest.raises(Conflict):
        await table.update("a", {"n": 3}, first)
    assert await table.get("a") == Entry("a", {"n": 2}, second)
    await table.put("unrelated", {})
    assert await table.update("a", {"n": 4}, second) > second


async def test_update_of_a_missing_key_with_a_revision_conflicts(store: Store, bucket: Bucket[Any]) -> None:
    with pytest.raises(Conflict):
        await Table(store, bucket).update("a", {}, 7)


async def test_a_deleted_key_is_gone_and_can_be_created_again(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    first = await table.put("a", {"n": 1})
    await table.delete("a")
    assert await table.get("a") is None
    assert await table.entries() == []
    with pytest.raises(Conflict):
        await table.update("a", {"n": 2}, first)
    again = await table.update("a", {"n": 3}, 0)
    assert await table.get("a") == Entry("a", {"n": 3}, again)


async def test_delete_with_a_revision_needs_the_last_one(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    first = await table.put("a", {"n": 1})
    second = await table.put("a", {"n": 2})
    with pytest.raises(Conflict):
        await table.delete("a", first)
    assert await table.get("a") is not None
    assert await table.delete("a", second) > second
    assert await table.get("a") is None


async def test_delete_of_what_is_not_there_is_no_error(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.delete("a")
    assert await table.get("a") is None


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "a.b", "a.b.c", "a.bc", "x.y"]),
        ("a", ["a.b", "a.b.c", "a.bc"]),
        ("a.b", ["a.b.c"]),
        ("x.y", []),
        ("nothing", []),
    ],
)
async def test_entries_are_those_below_a_prefix_of_whole_tokens(
    store: Store, bucket: Bucket[Any], prefix: str, expected: list[str]
) -> None:
    table = Table(store, bucket)
    for number, key in enumerate(("a", "a.b", "a.b.c", "a.bc", "x.y", "x.gone")):
        await table.put(key, {"n": number})
    await table.delete("x.gone")
    assert sorted(entry.key for entry in await table.entries(prefix)) == expected


async def test_many_entries_are_read_whole(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await asyncio.gather(*(table.put(f"all.{number}", {"n": number}) for number in range(1500)))
    await table.put("other", {})
    await table.delete("all.7")
    entries = await table.entries("all")
    assert {entry.value["n"] for entry in entries} == set(range(1500)) - {7}


async def test_within_a_group_any_write_conflicts(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.put("g1.a", {})
    seen = await table.put("g1.b", {})
    await table.put("g2.a", {})
    assert await table.update("g1.c", {}, seen, within="g1") > seen
    with pytest.raises(Conflict):
        await table.update("g1.d", {}, seen, within="g1")
    assert await table.get("g1.d") is None


async def test_an_empty_group_is_at_revision_zero(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.put("other.a", {})
    await table.update("g.a", {}, 0, within="g")
    with pytest.raises(Conflict):
        await table.update("g.b", {}, 0, within="g")


async def test_a_deletion_moves_the_revision_of_its_group(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.put("g.a", {})
    newest = await table.put("g.b", {})
    deleted = await table.delete("g.a")
    for wrong in (0, newest):
        with pytest.raises(Conflict):
            await table.update("g.c", {}, wrong, within="g")
    await table.update("g.c", {}, deleted, within="g")


async def test_what_changed_since_a_revision_is_told_with_deletions_oldest_first(
    store: Store, bucket: Bucket[Any]
) -> None:
    raw = store.raw(bucket)
    assert await raw.since(0) == []
    for key in ("g.a", "g.b", "other.a"):
        await raw.put(key, b"1")
    known = await raw.put("g.c", b"1")
    deleted = await raw.delete("g.a")
    written = await raw.put("g.b", b"2")
    other = await raw.put("other.b", b"1")
    assert await raw.since(known, "g") == [Raw("g.a", None, deleted), Raw("g.b", b"2", written)]
    assert await raw.since(deleted) == [Raw("g.b", b"2", written), Raw("other.b", b"1", other)]
    assert await raw.since(written, "g") == []
    assert await raw.newest() == max(written, other)
    assert await raw.since(0, "nothing") == []


async def test_of_many_changes_the_oldest_are_told_first(store: Store, bucket: Bucket[Any]) -> None:
    raw = store.raw(bucket)
    revisions = await asyncio.gather(*(raw.put(f"g.{number}", b"1") for number in range(MOST_SINCE + 10)))
    found = await raw.since(0, "g")
    assert [each.revision for each in found] == sorted(revisions)[:MOST_SINCE]
    assert len(await raw.since(found[-1].revision, "g")) == 10


async def test_compare_and_set_within_a_group_never_loses_a_write(store: Store, bucket: Bucket[Any]) -> None:
    """Eight writers take from one capacity of 20, each writing its own key: together they never take more."""
    table = Table(store, bucket)

    async def take(writer: int) -> int:
        taken = 0
        while True:
            entries = await table.entries("target")
            if sum(entry.value["n"] for entry in entries) >= 20:
                return taken
            revision = max((entry.revision for entry in entries), default=0)
            with contextlib.suppress(Conflict):
                await table.update(f"target.{writer}-{taken}", {"n": 1}, revision, within="target")
                taken += 1

    taken = await asyncio.gather(*(take(writer) for writer in range(8)))
    assert sum(taken) == 20
    assert len(await table.entries("target")) == 20


async def test_compare_and_set_of_a_key_never_loses_an_increment(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    await table.put("counter", {"n": 0})

    async def increment(times: int) -> None:
        while times:
            entry = await table.get("counter")
            assert entry is not None
            with contextlib.suppress(Conflict):
                await table.update("counter", {"n": entry.value["n"] + 1}, entry.revision)
                times -= 1

    await asyncio.gather(*(increment(5) for _ in range(8)))
    entry = await table.get("counter")
    assert entry is not None
    assert entry.value == {"n": 40}


async def test_watch_gives_what_is_present_then_none_then_what_changes(store: Store, bucket: Bucket[Any]) -> None:
    raw = store.raw(bucket)
    present = [Raw("a", b"1", await raw.put("a", b"1")), Raw("b.c", b"2", await raw.put("b.c", b"2"))]
    watch = raw.watch()
    async with asyncio.timeout(10):
        assert [await anext(watch) for _ in range(3)] == [*present, None]
        changed = await raw.put("a", b"3")
        assert await anext(watch) == Raw("a", b"3", changed)
        deleted = await raw.delete("b.c")
        assert await anext(watch) == Raw("b.c", None, deleted)


async def test_watch_of_an_empty_bucket_gives_none_at_once(store: Store, bucket: Bucket[Any]) -> None:
    async with asyncio.timeout(10):
        assert await anext(store.raw(bucket).watch()) is None


async def test_every_watcher_sees_every_change(store: Store, bucket: Bucket[Any]) -> None:
    raw = store.raw(bucket)
    watches = [raw.watch() for _ in range(3)]
    async with asyncio.timeout(10):
        for watch in watches:
            assert await anext(watch) is None
        revisions = [await raw.put(f"k.{number}", b"%d" % number) for number in range(50)]
        for watch in watches:
            assert [(await anext(watch)).revision for _ in revisions] == revisions  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["", ".", "a..b", "a.", "a b", "a:b", "a.*", "a.>", "ä", "x" * 5000])
async def test_a_key_that_is_none_is_refused(store: Store, bucket: Bucket[Any], key: str) -> None:
    raw = store.raw(bucket)
    for operation in (raw.put(key, b""), raw.get(key), raw.delete(key), raw.update(key, b"", 0)):
        with pytest.raises(ValueError, match="not a key"):
            await operation
    assert await raw.put("fine", b"")


async def test_a_value_that_is_too_large_is_refused(store: Store, bucket: Bucket[Any]) -> None:
    raw = store.raw(bucket)
    with pytest.raises(ValueError, match="1500000 bytes under a: a bucket holds at most 1000000"):
        await raw.put("a", b"x" * 1_500_000)
    assert await raw.put("a", b"x" * 1_000_000)


async def test_provisioning_again_keeps_what_is_there(store: Store, bucket: Bucket[Any]) -> None:
    table = Table(store, bucket)
    revision = await table.put("a", {"n": 1})
    await store.provision((bucket,))
    assert await table.get("a") == Entry("a", {"n": 1}, revision)
    assert await table.put("a", {"n": 2}) == revision + 1


@pytest.mark.parametrize("bad", [{"n": float("inf")}, {"n": float("nan")}, {"n": "text"}])
async def test_what_could_not_be_read_again_is_not_written(store: Store, bucket: Bucket[Any], bad: Any) -> None:
    table = Table(store, bucket)
    for write in (table.put("a", bad), table.update("a", bad, 0)):
        with pytest.raises(ValueError, match=f"entry a of bucket {bucket.name} is not readable"):
            await write
    assert await table.get("a") is None


async def test_the_size_of_a_bucket_counts_what_it_holds(store: Store, bucket: Bucket[Any]) -> None:
    raw = store.raw(bucket)
    assert await raw.size() == 0
    await raw.put("a", b"1")
    assert await raw.size() == 1

"""A change of one entry by compare-and-set, on every implementation of the state."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.broker.store import Bucket, Conflict, Store
from shared.broker.table import Entry, Table


class Rivals(Table[dict[str, int]]):
    """A table that somebody else writes to as well: one more entry of `writes` after every read of this one."""

    def __init__(self, store: Store, bucket: Bucket[Any], writes: list[dict[str, int]]) -> None:
        super().__init__(store, bucket)
        self.writes = writes

    async def get(self, key: str) -> Entry[dict[str, int]] | None:
        entry = await super().get(key)
        if self.writes:
            await self.put(key, self.writes.pop(0))
        return entry


async def one_more(value: dict[str, int] | None) -> dict[str, int] | None:
    return {"n": value["n"] + 1} if value else {"n": 1}


async def same(value: dict[str, int] | None) -> dict[str, int] | None:
    return value


async def nothing(_: dict[str, int] | None) -> None:
    return None


async def test_a_change_is_made_of_what_is_there_and_what_is_equal_is_not_written(
    store: Store, bucket: Bucket[Any]
) -> None:
    table = Table(store, bucket)
    assert await table.change("a", same, tries=1) == (None, False)
    assert await table.change("a", nothing, tries=1) == (None, False)
    first, written = await table.change("a", one_more, tries=1)
    assert (first, written) == (await table.get("a"), True)
    assert await table.change("a", same, tries=1) == (first, False)
    second, written = await table.change("a", one_more, tries=1)
    assert second is not None
    assert (second.value, written) == ({"n": 2}, True)
    assert second == await table.get("a")
    assert await table.change("a", nothing, tries=1) == (None, True)
    assert await table.get("a") is None


async def test_a_change_is_made_again_where_somebody_else_was_faster(store: Store, bucket: Bucket[Any]) -> None:
    table = Rivals(store, bucket, [{"n": 10}, {"n": 20}])
    entry, written = await table.change("a", one_more, tries=3)
    assert (entry.value if entry else None, written) == ({"n": 21}, True)
    table.writes = [{"n": 30}]
    assert await table.change("a", nothing, tries=2) == (None, True)


@pytest.mark.parametrize("change", [one_more, nothing])
async def test_a_change_that_others_are_always_faster_than_is_given_up(
    store: Store, bucket: Bucket[Any], change: Callable[[dict[str, int] | None], Awaitable[dict[str, int] | None]]
) -> None:
    await Table(store, bucket).put("a", {"n": 1})
    table = Rivals(store, bucket, [{"n": 2}, {"n": 3}, {"n": 4}])
    with pytest.raises(Conflict):
        await table.change("a", change, tries=2)
    assert table.writes == [{"n": 4}]

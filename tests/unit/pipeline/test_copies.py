"""Copies of a worker agree on who sees to what, and take over from those that are gone."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.copy import Copy
from shared.pipeline.buckets import STATUS_COPIES
from shared.pipeline.copies import GONE, Copies, owner
from tests.support.waiting import until

KEYS = [f"target-{number}" for number in range(300)]
NAMES = st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=6)


@given(NAMES)
def test_only_what_a_copy_had_passes_to_others_when_it_goes(names: set[str]) -> None:
    gone = min(names)
    for key in KEYS[:50]:
        before = owner(key, names)
        assert before == gone or owner(key, names - {gone}) == before


def test_copies_have_about_as_much_to_see_to() -> None:
    count = Counter(owner(key, ("one", "two", "three")) for key in KEYS)
    assert min(count.values()) > 70


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def copy(store: MemoryStore, name: str, clock: Clock) -> AsyncIterator[tuple[Copies, asyncio.Task[None]]]:
    table = Table(store, STATUS_COPIES)
    view = table.follow()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(view.run())
        await view.synced.wait()
        copies = Copies(table, view, clock=clock, elapsed=clock, name=name)
        running = tasks.create_task(copies.run())
        yield copies, running
        running.cancel()
        await asyncio.wait([running])
        following.cancel()


def shares(*copies: Copies) -> list[list[str]]:
    return [[key for key in KEYS if each.mine(key)] for each in copies]


def dealt(*copies: Copies) -> bool:
    """Whether each key is seen to by one of them."""
    found = shares(*copies)
    return all(found) and sorted(key for each in found for key in each) == sorted(KEYS)


async def test_each_key_is_seen_to_by_one_copy_and_by_another_when_that_is_gone() -> None:
    store, clock = MemoryStore(), Clock()
    async with copy(store, "one", clock) as (one, _):
        assert shares(one) == [KEYS]
        async with copy(store, "two", clock) as (two, _):
            await until(lambda: dealt(one, two))
        await until(lambda: shares(one) == [KEYS])
        assert [entry.key for entry in await Table(store, STATUS_COPIES).entries()] == ["one"]


async def test_a_copy_that_gives_no_sign_of_life_any_more_is_taken_over_from() -> None:
    store, clock = MemoryStore(), Clock()
    table = Table(store, STATUS_COPIES)
    await table.put("dead", Copy(name="dead", beat_at=clock() - 1))
    async with copy(store, "one", clock) as (one, _):
        assert shares(one) != [KEYS]
        clock.now += GONE
        await table.put("other", Copy(name="other", beat_at=clock() - GONE))  # whatever happens, it looks
        await until(lambda: shares(one) == [KEYS])

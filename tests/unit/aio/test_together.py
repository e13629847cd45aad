"""Several things at once."""

import asyncio

import pytest

from shared.aio.together import all_of


async def test_all_of_it_is_done_at_once():
    turns = [asyncio.Event(), asyncio.Event()]

    async def one(mine: asyncio.Event, others: asyncio.Event) -> None:
        mine.set()
        await others.wait()

    async with asyncio.timeout(5):
        await all_of(one(*turns), one(*reversed(turns)))
        await all_of()


@pytest.mark.parametrize("beside", [0, 1])
async def test_what_fails_is_raised_alone_or_not(beside):
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await all_of(fail(), *(asyncio.sleep(0) for _ in range(beside)))

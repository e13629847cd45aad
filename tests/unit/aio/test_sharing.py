"""Reads that several share, and what is kept for a moment."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.aio.sharing import JointReads, Kept
from tests.support.waiting import until


class Source:
    """Counts reads; each ends when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.gates: list[asyncio.Event] = []

    async def read(self, key: str) -> str:
        self.begun += 1
        number, gate = self.begun, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return f"{key}{number}"


async def turn() -> None:
    """Let everything go on that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_while_a_read_is_under_way_shares_the_next_one() -> None:
    source = Source()
    reads = JointReads(source.read)
    first = asyncio.create_task(reads.get("a"))
    await turn()
    later = [asyncio.create_task(reads.get("a")) for _ in range(3)]
    await turn()
    assert source.begun == 1
    source.gates[0].set()
    assert await first == "a1"
    await turn()
    source.gates[1].set()
    assert await asyncio.gather(*later) == ["a2"] * 3


async def test_different_things_do_not_wait_for_each_other() -> None:
    source = Source()
    reads = JointReads(source.read)
    asked = [asyncio.create_task(reads.get(key)) for key in "ab"]
    await turn()
    assert source.begun == 2
    for gate in source.gates:
        gate.set()
    assert await asyncio.gather(*asked) == ["a1", "b2"]


async def test_a_read_waits_for_those_who_are_on_their_way() -> None:
    source = Source()
    reads = JointReads(source.read, patience=60.0)
    with reads.joining("a") as one, reads.joining("a") as other:
        first = asyncio.create_task(one())
        await turn()
        assert source.begun == 0
        second = asyncio.create_task(other())
        await turn()
        source.gates[0].set()
        assert await asyncio.gather(first, second) == ["a1", "a1"]


async def test_a_read_does_not_wait_for_who_turned_back() -> None:
    source = Source()
    reads = JointReads(source.read, patience=60.0)
    with reads.joining("a") as one:
        with reads.joining("a"):
            first = asyncio.create_task(one())
            await turn()
        await turn()
        source.gates[0].set()
        assert await first == "a1"


async def test_a_read_waits_for_nobody_longer_than_its_patience() -> None:
    source = Source()
    reads = JointReads(source.read, patience=0.001)
    with reads.joining("a"), reads.joining("a") as one:
        asked = asyncio.create_task(one())
        await until(lambda: source.gates, within=5.0)
        source.gates[0].set()
        assert await asked == "a1"


async def test_an_error_is_raised_to_all_who_asked_and_the_next_read_is_another() -> None:
    answers = iter([ValueError("no"), "yes"])

    async def read(_: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    reads = JointReads(read)
    with reads.joining("a") as one, reads.joining("a") as other:
        found = await asyncio.gather(one(), other(), return_exceptions=True)
    assert list(map(str, found)) == ["no", "no"]
    assert await reads.get("a") == "yes"


async def test_who_is_cancelled_takes_the_answer_from_nobody() -> None:
    source = Source()
    reads = JointReads(source.read)
    with reads.joining("a") as one, reads.joining("a") as other:
        first, second = asyncio.create_task(one()), asyncio.create_task(other())
        await turn()
        first.cancel()
        source.gates[0].set()
        assert await second == "a1"


async def test_nothing_is_left_of_what_was_asked() -> None:
    reads = JointReads(Source().read)
    with reads.joining("a"):
        pass
    assert not reads._groups


def making(values: list[str]) -> Callable[[], Awaitable[str]]:
    async def make() -> str:
        await asyncio.sleep(0)
        return values.pop(0)

    return make


async def test_what_was_made_is_kept_for_its_seconds() -> None:
    now = 0.0
    kept: Kept[str, str] = Kept(seconds=2.0, limit=10, clock=lambda: now)
    make = making(["first", "second"])
    assert await asyncio.gather(kept.get("a", make), kept.get("a", make)) == ["first", "first"]
    now = 1.9
    assert await kept.get("a", make) == "first"
    now = 2.0
    assert await kept.get("a", make) == "second"


async def test_what_could_not_be_made_is_not_kept() -> None:
    kept: Kept[str, str] = Kept(seconds=60.0, limit=10)
    with pytest.raises(IndexError):
        await kept.get("a", making([]))
    assert await kept.get("a", making(["made"])) == "made"


async def test_no_more_is_kept_than_the_limit() -> None:
    kept: Kept[str, str] = Kept(seconds=60.0, limit=2)
    for key in "abc":
        await kept.get(key, making([key]))
    assert await kept.get("c", making(["again"])) == "c"
    assert await kept.get("a", making(["again"])) == "again"

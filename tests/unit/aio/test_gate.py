"""The gate: one at a time, owners in turn, and the event loop between two."""

import asyncio

import pytest

from shared.aio.gate import Gate


async def test_owners_take_turns_whoever_came_in_a_burst() -> None:
    gate, order = Gate(), list[str]()

    async def piece(owner: str) -> None:
        async with gate.through(owner):
            order.append(owner)

    await asyncio.gather(*(piece(owner) for owner in "aaabc"))
    assert order == ["a", "a", "b", "c", "a"]  # the second came when nobody else waited yet


async def test_the_loop_sees_to_all_else_between_two_pieces_of_the_same_owner() -> None:
    gate, order = Gate(), list[str]()

    async def greedy() -> None:
        for _ in range(3):
            async with gate.through("a"):
                order.append("piece")

    async def other() -> None:
        while order.count("piece") < 3:
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(greedy(), other())
    assert [order[at + 1] for at, each in enumerate(order[:-1]) if each == "piece"] == ["other", "other"]


async def test_who_gives_up_waiting_keeps_nobody_waiting() -> None:
    gate, inside, leave = Gate(), asyncio.Event(), asyncio.Event()

    async def stays() -> None:
        async with gate.through("a"):
            inside.set()
            await leave.wait()

    async def passes() -> str:
        async with gate.through("b"):
            return "through"

    staying = asyncio.create_task(stays())
    await inside.wait()
    gone, following = asyncio.create_task(passes()), asyncio.create_task(passes())
    await asyncio.sleep(0)
    gone.cancel()
    leave.set()
    assert await following == "through"
    with pytest.raises(asyncio.CancelledError):
        await gone
    await staying


async def test_a_piece_that_fails_lets_the_next_one_through() -> None:
    gate = Gate()
    with pytest.raises(ValueError, match="wrong"):
        async with gate.through("a"):
            raise ValueError("wrong")
    async with asyncio.timeout(1), gate.through("b"):
        pass


async def test_of_several_places_one_is_kept_for_who_has_none() -> None:
    gate, leave, inside = Gate(4), asyncio.Event(), list[str]()

    async def stays(owner: str) -> None:
        async with gate.through(owner):
            inside.append(owner)
            await leave.wait()

    staying = [asyncio.create_task(stays(owner)) for owner in "aaaaab"]
    for _ in range(10):
        await asyncio.sleep(0)
    assert inside == ["a", "a", "a", "b"]
    leave.set()
    await asyncio.gather(*staying)
    assert inside == ["a", "a", "a", "b", "a", "a"]

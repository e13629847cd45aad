"""The work queue: each key waits once, and none is worked on twice at a time."""

import asyncio

from shared.aio.workqueue import WorkQueue


async def test_keys_come_in_order_and_once():
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_on_comes_again_afterwards_and_not_before():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_is_in_it_while_it_waits_and_while_it_is_worked_on():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert "a" in queue
    await queue.get()
    assert "a" in queue
    queue.done("a")
    assert "a" not in queue


async def test_waiting_for_a_key_ends_when_one_is_added():
    queue: WorkQueue[str] = WorkQueue()
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    async with asyncio.timeout(1):
        assert await getting == "a"


async def test_owners_of_keys_take_turns_and_none_takes_all_places():
    queue: WorkQueue[str] = WorkQueue(4, owner=lambda key: key[0])
    for key in ("a1", "a2", "a3", "a4", "a5", "b1"):
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a1", "b1", "a2"]
    getting = asyncio.create_task(queue.get())
    queue.done("b1")
    async with asyncio.timeout(1):
        assert await getting == "a3"
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not getting.done()  # the last place is not for who has all others
    queue.add("c1")
    async with asyncio.timeout(1):
        assert await getting == "c1"

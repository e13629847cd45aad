"""What could run away runs elsewhere, and is stopped at its deadline; nobody else waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.policy.cel.isolation import LEAST_SECONDS, Isolation
from services.policy.cel.protocol import Job

DIGITS = "[" + ", ".join(map(str, range(150))) + "]"
RUNAWAY = f"{DIGITS}.all(a, {DIGITS}.all(b, {DIGITS}.all(c, a + b + c >= 0)))"
DOUBLING = '["x"]' + "".join(f".map(v{n}, v{n} + v{n})" for n in range(40)) + ".size() == 1"


def job(expression: str, targets: int = 1, digest: str = "") -> Job:
    return Job(digest or expression, expression, (), {}, [{"name": f"n{n}"} for n in range(targets)])


def _children() -> set[str]:
    """The process ids of this process's children."""
    return {pid for tasks in Path("/proc/self/task").iterdir() for pid in (tasks / "children").read_text().split()}


@pytest.fixture
async def isolation() -> AsyncIterator[Isolation]:
    made = Isolation(children=2, deadline=0.8, memory=512 << 20)
    yield made
    await made.close()


async def test_answers_come_back_in_order(isolation: Isolation) -> None:
    answers = await isolation.run(job('target.name == "n1"', 3), "a")
    assert answers == [(("f", ""), True), (("t", ""), True), (("f", ""), True)]


async def test_a_child_is_used_again(isolation: Isolation) -> None:
    await isolation.run(job("true"), "a")
    (child,) = isolation._idle
    await isolation.run(job("false"), "b")
    assert isolation._idle == [child]


async def test_a_runaway_is_stopped_and_its_child_replaced(isolation: Isolation) -> None:
    await isolation.run(job("true"), "warm")
    (child,) = isolation._idle
    begun = time.monotonic()
    ((answer, final),) = await isolation.run(job(RUNAWAY), "hostile")
    assert time.monotonic() - begun < 3.0
    assert (answer[0], final) == ("e", False)
    assert answer[1].startswith("took longer than")
    assert child.process.returncode is not None
    assert await isolation.run(job("true"), "other") == [(("t", ""), True)]


async def test_a_runaway_rests_and_its_tenant_has_used_up_its_time(isolation: Isolation) -> None:
    await isolation.run(job(RUNAWAY, digest="d"), "hostile")
    begun = time.monotonic()
    again = await isolation.run(job(RUNAWAY, digest="d"), "hostile")
    other = await isolation.run(job(RUNAWAY, digest="e"), "hostile")
    assert time.monotonic() - begun < 0.5
    assert "rests" in again[0][0][1]
    assert "used up" in other[0][0][1]
    assert isolation._allowances.left("hostile", isolation.clock()) < LEAST_SECONDS + 0.2


async def test_another_tenant_does_not_wait_for_a_hostile_one(isolation: Isolation) -> None:
    await asyncio.gather(isolation.run(job("true"), "a"), isolation.run(job("true"), "b"))  # both children are up
    hostile = [asyncio.create_task(isolation.run(job(RUNAWAY, digest=str(n)), "hostile")) for n in range(20)]
    await asyncio.sleep(0)
    begun = time.monotonic()
    assert await isolation.run(job("true"), "honest") == [(("t", ""), True)]
    assert time.monotonic() - begun < isolation.deadline
    await asyncio.gather(*hostile)
    assert time.monotonic() - begun < 3 * isolation.deadline


async def test_a_child_whose_start_is_cancelled_ends(isolation: Isolation) -> None:
    before = _children()
    task = asyncio.create_task(isolation.run(job("true"), "a"))
    async with asyncio.timeout(15):
        while not (started := _children() - before):  # noqa: ASYNC110 - nothing says when a process is there
            await asyncio.sleep(0)
        for _ in range(20):  # its pipes are connected
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not started & _children()


async def test_what_was_answered_before_the_deadline_is_kept() -> None:
    isolation = Isolation(deadline=1.0)
    slow = f"{DIGITS}.all(a, {DIGITS}.all(b, a + b >= 0))"
    try:
        answers = await isolation.run(job(slow, 100), "a")
    finally:
        await isolation.close()
    outcomes = "".join(answer[0] for answer, _ in answers)
    assert outcomes == "t" * outcomes.count("t") + "e" * outcomes.count("e")
    assert outcomes.endswith("e")


async def test_memory_is_bounded() -> None:
    isolation = Isolation(deadline=10.0, memory=400 << 20)
    try:
        ((answer, _),) = await isolation.run(job(DOUBLING), "a")
        assert answer[0] == "e"
        assert await isolation.run(job("true"), "b") == [(("t", ""), True)]
    finally:
        await isolation.close()


async def test_the_child_gets_no_secrets(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_NATS_PASSWORD", "hunter2")
    await isolation.run(job("true"), "a")
    (child,) = isolation._idle
    assert b"hunter2" not in Path(f"/proc/{child.process.pid}/environ").read_bytes()  # noqa: ASYNC240 - from memory

"""What could run away runs elsewhere, and is stopped at its deadline; nobody else waits for it."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.policy.cel.isolation import LEAST_SECONDS, LONGEST_START_SECONDS, MOST_DEATHS, Isolation, Unavailable
from services.policy.cel.protocol import Job
from services.policy.warm import warm_up
from shared.api import PlacementPolicySpec, Rule

from .lab import BOUND, SlowStart, slow_start

RUNAWAY = "sets.equivalent(lists.range(400000), lists.range(400000))"
"""Each element is looked for in the other list; a loop of its own would be stopped by the engine."""
DOUBLING = '["x"]' + "".join(f".map(v{n}, v{n} + v{n})" for n in range(40)) + ".size() == 1"


def job(expression: str, targets: int = 1, digest: str = "") -> Job:
    return Job(digest or expression, expression, {}, {}, [{"name": f"n{n}"} for n in range(targets)])


def _children() -> set[str]:
    """The process ids of this process's children."""
    return {pid for tasks in Path("/proc/self/task").iterdir() for pid in (tasks / "children").read_text().split()}


@pytest.fixture
async def isolation() -> AsyncIterator[Isolation]:
    made = Isolation(children=2, deadline=0.8, memory=512 << 20, start_seconds=60.0)
    yield made
    await made.close()


@pytest.fixture
async def patient() -> AsyncIterator[Isolation]:
    """With a deadline that no test reaches."""
    made = Isolation(children=2, deadline=600.0, start_seconds=60.0)
    yield made
    await made.close()


@pytest.fixture
def slow(tmp_path: Path) -> SlowStart:
    return slow_start(tmp_path)


class Stopwatch:
    """Time since some moment, in seconds, until it is stopped."""

    def __init__(self) -> None:
        self._stopped: float | None = None

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() if self._stopped is None else self._stopped

    def stop(self) -> None:
        self._stopped = self()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - nothing says when a process is handed out
            await asyncio.sleep(0)


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
    ((answer, final),) = await isolation.run(job(RUNAWAY), "hostile")  # alone, it would take hours
    assert (answer[0], final) == ("e", False)
    assert answer[1].startswith("took longer than")
    assert child.process.returncode is not None
    assert await isolation.run(job("true"), "other") == [(("t", ""), True)]


async def test_a_runaway_rests_and_its_tenant_has_used_up_its_time(isolation: Isolation) -> None:
    isolation.clock = watch = Stopwatch()
    await isolation.run(job(RUNAWAY, digest="d"), "hostile")
    watch.stop()
    assert isolation._allowances.left("hostile", watch()) < LEAST_SECONDS
    ((again, _),) = await isolation.run(job(RUNAWAY, digest="d"), "hostile")
    others = [await isolation.run(job(RUNAWAY, digest=str(n)), "hostile") for n in range(20)]
    assert "rests" in again[1]
    assert all("used up" in answer[1] for ((answer, _),) in others)
    assert isolation._idle == []  # no child was asked


async def test_another_tenant_does_not_wait_for_a_hostile_one(patient: Isolation) -> None:
    hostile = [asyncio.create_task(patient.run(job(RUNAWAY, digest=str(n)), "hostile")) for n in range(20)]
    await asyncio.sleep(0)
    assert await patient.run(job("true"), "honest") == [(("t", ""), True)]
    assert not any(each.done() for each in hostile)
    for each in hostile:
        each.cancel()
    await asyncio.wait(hostile)


async def test_a_child_that_starts_slowly_serves_the_next_job(slow: SlowStart) -> None:
    isolation = Isolation(command=slow.command, start_seconds=0.01, deadline=60.0)
    try:
        for _ in range(7):
            with pytest.raises(Unavailable, match="has not started yet"):
                await isolation.run(job("true"), "a")
        (starting,) = isolation._idle
        await slow.let_go()
        isolation.start_seconds = 60.0
        assert await isolation.run(job("true"), "a") == [(("t", ""), True)]
        assert isolation._idle == [starting]
    finally:
        await isolation.close()


async def test_a_worker_begins_also_where_its_child_starts_slowly(slow: SlowStart) -> None:
    isolation = Isolation(command=slow.command, start_seconds=0.01, deadline=60.0)
    try:
        await warm_up(isolation, inline_cost=0.0)
        assert not any(child.up for child in isolation._idle)
    finally:
        await isolation.close()


async def test_a_child_that_does_not_come_up_for_long_is_replaced(slow: SlowStart) -> None:
    now = [0.0]
    isolation = Isolation(command=slow.command, start_seconds=0.01, clock=lambda: now[0])
    try:
        with pytest.raises(Unavailable):
            await isolation.run(job("true"), "a")
        (first,) = isolation._idle
        now[0] = LONGEST_START_SECONDS
        with pytest.raises(Unavailable):
            await isolation.run(job("true"), "a")
        assert first.process.returncode is not None
        assert isolation._idle == []
    finally:
        await isolation.close()


async def test_a_child_that_ends_at_its_start_says_nothing_of_the_rule() -> None:
    isolation = Isolation(command=(sys.executable, "-c", "raise SystemExit(1)"), start_seconds=60.0)
    for _ in range(7):
        with pytest.raises(Unavailable, match="ended at its start"):
            await isolation.run(job("true"), "a")
        with pytest.raises(Unavailable, match="ended at its start"):
            await isolation.review(PlacementPolicySpec(rules=(Rule(name="r", expression="true"),)), "a")
    await isolation.warm()  # leaves it to the first job
    assert isolation._idle == []


async def test_without_files_for_another_child_the_job_waits(isolation: Isolation) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(Unavailable, match="Too many open files"):
            await isolation.run(job("true"), "a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await isolation.run(job("true"), "a") == [(("t", ""), True)]


async def test_a_child_program_that_is_not_there_is_no_matter_of_waiting() -> None:
    with pytest.raises(FileNotFoundError):
        await Isolation(command=("/nowhere/python",)).run(job("true"), "a")


async def test_a_child_that_was_killed_while_idle_is_replaced(isolation: Isolation) -> None:
    await isolation.run(job("true"), "a")
    (child,) = isolation._idle
    os.kill(child.process.pid, signal.SIGKILL)
    await child.process.wait()
    assert await isolation.run(job("true"), "a") == [(("t", ""), True)]


async def test_a_job_whose_child_is_killed_is_unavailable_until_that_happens_again_and_again(
    patient: Isolation,
) -> None:
    async def killed() -> list[tuple[tuple[str, str], bool]]:
        await patient.warm()
        (child,) = patient._idle
        running = asyncio.create_task(patient.run(job(RUNAWAY), "a"))
        await until(lambda: not patient._idle)
        os.kill(child.process.pid, signal.SIGKILL)
        return await running

    for _ in range(MOST_DEATHS - 1):
        with pytest.raises(Unavailable, match="was killed at its work"):
            await killed()
    assert await killed() == [(("e", "ended the process that evaluates it"), False)]
    ((again, _),) = await patient.run(job(RUNAWAY), "a")
    assert "rests" in again[1]


async def test_a_check_whose_child_is_killed_is_unavailable(patient: Isolation) -> None:
    await patient.warm()
    (child,) = patient._idle
    rules = tuple(Rule(name=f"r{n}", expression="[" + "1, " * 700 + "1].exists(x, x > 1)") for n in range(16))
    os.kill(child.process.pid, signal.SIGSTOP)  # it will not answer before it is killed
    running = asyncio.create_task(patient.review(PlacementPolicySpec(rules=rules), "a"))
    await until(lambda: not patient._idle)
    os.kill(child.process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="was killed at its work"):
        await running
    assert await patient.review(PlacementPolicySpec(rules=rules[:1]), "a") == []


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
    slow = "sets.equivalent(lists.range(2500), lists.range(2500))"
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

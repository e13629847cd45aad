"""What another workspace notices of attacks on a running policy worker: how long its rounds take, as a percentile."""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.policy.worker import evaluate
from shared.api import PlacementPolicySpec
from shared.broker.bus import Retry
from shared.broker.tokens import join
from shared.model.policy import PolicyEntry
from shared.pipeline.messages import Discovered

from .lab import Lab, running
from .test_attacks import HONEST, POLICIES, TARGETS, message

BEFORE, ROUNDS = 50, 200
P99_SECONDS = 0.5
IN_FLIGHT = 24
"""Messages of one workspace that a worker has in hand at once: three quarters of its places."""

DOUBLING = POLICIES["a long constant that variables double"]
INLINE = tuple(
    rule
    for name in ("regular expressions that are made", "functions that Python answers", "long constants in each rule")
    for rule in POLICIES[name].rules[:16]
)


def ninety_ninth(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def kept_waiting() -> float:
    """Seconds for which threads of this process were ready to run and the machine had no core for them, so far."""
    waited = 0.0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            waited += int(task.read_text().split()[1]) / 1e9
    return waited


async def rounds(lab: Lab, count: int) -> tuple[list[float], list[float]]:
    """Rounds of the honest workspace one after the other, in seconds: of wall time less what the machine was busy with
    others, and of this process's processor time."""
    wall, processor = [], []
    for _ in range(count):
        begun, used, waited = time.perf_counter(), time.process_time(), kept_waiting()
        judged = await evaluate(message("root:honest"), lab.policy)
        wall.append(time.perf_counter() - begun - max(0.0, kept_waiting() - waited))
        processor.append(time.process_time() - used)
        assert [set(each.outcomes) for each in judged.rules] == [{"t"}, {"t"}]
        await asyncio.sleep(0.01)
    return wall, processor


@asynccontextmanager
async def attacked(lab: Lab) -> AsyncIterator[list[int]]:
    """Both attacks, again and again: a policy of long constants that changes all the time, and rules on placements."""
    handled = [0]

    async def floods(hostile: Discovered) -> None:
        while True:
            try:
                await evaluate(hostile, lab.policy)
            except Retry:
                await asyncio.sleep(0.05)
            handled[0] += 1
            await asyncio.sleep(0)

    async def edits() -> None:
        for generation in itertools.count(2):
            rules = tuple(
                type(rule)(name=rule.name, expression=f"{rule.expression} && {generation} > 0")
                for rule in DOUBLING.rules
            )
            await apply(lab, "root:hostile", PlacementPolicySpec(rules=rules, variables=DOUBLING.variables), generation)
            await asyncio.sleep(0.1)

    placements = [message("root:hostile", *INLINE) if n % 2 else message("root:hostile") for n in range(IN_FLIGHT)]
    tasks = [asyncio.create_task(floods(each)) for each in placements] + [asyncio.create_task(edits())]
    try:
        yield handled
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def apply(lab: Lab, workspace: str, spec: PlacementPolicySpec, generation: int = 1) -> int:
    entry = PolicyEntry(workspace=workspace, name="p", uid="u", generation=generation, spec=spec)
    return await lab.policies.put(join(workspace, "p"), entry)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_rounds_of_others_stay_short_beside_both_attacks() -> None:
    """In processor time, and in wall time, whatever else the machine does: what it keeps the worker waiting for a core
    is counted by the kernel and taken off. Where the kernel does not count it, nothing is taken off."""
    async with running() as lab:
        for target in TARGETS.values():
            revision = await lab.inventory.put(join("root", target.name), target)
        policies = await apply(lab, "root:honest", HONEST.spec)
        assert await lab.policy.inventory.reached(revision, 60.0)
        assert await lab.policy.policies.reached(policies, 60.0)
        await rounds(lab, 1)  # reads the targets
        quiet, _ = await rounds(lab, BEFORE)
        async with attacked(lab) as handled:
            wall, processor = await rounds(lab, ROUNDS)
    assert handled[0] > 0
    figures = {"quiet": quiet, "attacked": wall, "processor": processor}
    told = ", ".join(f"{name} {ninety_ninth(seconds):.3f} s" for name, seconds in figures.items())
    print(told)
    assert ninety_ninth(processor) < P99_SECONDS, told
    assert ninety_ninth(wall) < P99_SECONDS, told

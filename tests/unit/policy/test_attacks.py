"""Rules that are made to stop others: whatever they do, another workspace's round goes on beside them.

The longest time for which the event loop does nothing else is measured in processor time of this process, so that the
load of the machine does not count. That has the threads in it, since a thread that compiles may hold the interpreter's
lock; work in child processes does not hold up the loop.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.policy.cel.engine import Engine
from services.policy.cel.isolation import Isolation, Unavailable
from services.policy.cel.program import compile_rule
from services.policy.evaluation.columns import TargetColumns
from services.policy.stage import evaluate
from shared.api import PlacementPolicySpec, PlacementSpec, Rule, Variable, WorkloadSelector
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.model.target import Target
from shared.pipeline.messages import Discovered, Evaluated

NOW = 1_800_000_000.0
LONGEST_BLOCK = 0.25
"""Seconds of processor time, with which a round of others stays under half a second."""

ROWS = 2_000
TARGETS = {
    each.id: each
    for each in (
        Target(workspace="root", name=f"t{n}", labels={"region": "eu", "n": str(n)}, nodes=n % 7, ready=True)
        for n in range(ROWS)
    )
}
LONG = "x" * 16_000
HONEST = PolicyEntry(
    workspace="root:honest",
    name="p",
    spec=PlacementPolicySpec(
        rules=(
            Rule(name="eu", expression='target.labels["region"] == "eu"'),
            Rule(name="taints", expression='!target.taints.exists(t, t.effect == "NoExecute")'),
        )
    ),
)


def doubling(start: str, times: int, step: str = "variables.{0} + variables.{0}") -> tuple[Variable, ...]:
    names = [f"v{n}" for n in range(times + 1)]
    steps = zip(names[1:], names, strict=False)
    return (Variable(name="v0", expression=start), *(Variable(name=n, expression=step.format(m)) for n, m in steps))


def rules(*expressions: str) -> tuple[Rule, ...]:
    return tuple(Rule(name=f"r{n}", expression=each) for n, each in enumerate(expressions))


FIVE = rules(*(f'variables.v9.size() > {n} && target.name != ""' for n in range(5)))
CLASSES = "".join(rf"\\p{{L}}{{{n},40}}[^\\p{{N}}]" for n in range(1, 20))
DIGITS = "[" + ", ".join(map(str, range(150))) + "]"

POLICIES: dict[str, PlacementPolicySpec] = {
    "a long constant that variables double": PlacementPolicySpec(rules=FIVE, variables=doubling(f'"{LONG}"', 9)),
    "variables that double without end": PlacementPolicySpec(
        rules=rules(*(f"variables.v40 > {n}" for n in range(64))), variables=doubling("target.nodes", 40)
    ),
    "long constants in each rule": PlacementPolicySpec(
        rules=rules(*(f'"{"y" * (16_000 - n)}".contains(target.name)' for n in range(64)))
    ),
    "expressions that take long to compile": PlacementPolicySpec(
        rules=rules(*(f"[{', '.join(['1'] * 1_400)}].size() > {n} && target.ready" for n in range(64)))
    ),
    "many operands": PlacementPolicySpec(
        rules=rules(*(" || ".join(f"target.nodes == {n + m}" for m in range(250)) for n in range(64)))
    ),
    "large regular expressions": PlacementPolicySpec(
        rules=rules(*(f'target.name.matches("{n}{CLASSES}")' for n in range(64)))
    ),
    "regular expressions that are made": PlacementPolicySpec(
        rules=rules(*(f'target.name.matches("(a+)+{n}" + target.labels["n"])' for n in range(64)))
    ),
    "texts that grow": PlacementPolicySpec(
        rules=rules(*(f'"{"z" * 8_000}".replace("z", "{"w" * 7_000}").size() > {n}' for n in range(16)))
    ),
    "loops in loops": PlacementPolicySpec(
        rules=rules(*(f"{DIGITS}.all(a, {DIGITS}.all(b, a + b >= -{n}))" for n in range(16)))
    ),
    "lists that grow": PlacementPolicySpec(
        rules=rules(*(f"lists.range(1000000).map(x, x + {n}).size() > {n}" for n in range(16)))
    ),
    "a label of its own for each rule": PlacementPolicySpec(
        rules=rules(*(" || ".join(f'target.hasLabel("k{n}-{m}")' for m in range(40)) for n in range(64)))
    ),
    "targets as a whole": PlacementPolicySpec(rules=rules(*(f"size(dyn(target)) > {n}" for n in range(64)))),
    "characters that are none": PlacementPolicySpec(
        rules=rules(*(rf'target.name.matches("\ud8{n:02d}")' for n in range(64)))
    ),
    "functions that Python answers": PlacementPolicySpec(
        rules=rules(*(f'(target.name + "{n}").findAll("t|[0-9]").size() > {n}' for n in range(64)))
    ),
}


@dataclass
class Loop:
    """How long the event loop did nothing else, in seconds of processor time."""

    blocks: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """What the loop did between two looks, which is no less than the longest of it."""
        while True:
            begun = time.process_time()
            await asyncio.sleep(0.005)
            self.blocks.append(time.process_time() - begun)


@asynccontextmanager
async def watched() -> AsyncIterator[Loop]:
    loop = Loop()
    watching = asyncio.create_task(loop.watch())
    try:
        yield loop
    finally:
        await asyncio.sleep(0.01)  # so that the last look is taken
        watching.cancel()


def message(workspace: str, *policies: Rule) -> Discovered:
    request = Request(
        placement=PlacementRef(workspace=workspace, namespace="default", name="cart"),
        head=Head(uid="u", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(
            workload=(WorkloadSelector(api_version="apps/v1", kind="Deployment", name="cart"),), policies=policies
        ),
    )
    return Discovered(request=request, targets=tuple(TARGETS), inventory_revision=7)


async def attack(hostile: Discovered, *policies: PolicyEntry) -> tuple[Loop, Evaluated]:
    """Three rounds of a hostile workspace beside an honest one: how the loop was, and what the honest got."""
    inventory, isolation = TargetColumns(), Isolation(deadline=0.3, start_seconds=60.0)
    inventory.update(TARGETS)
    engine = Engine(isolation)
    for rule in HONEST.spec.rules:
        compile_rule(rule.expression)  # what is loaded at the first use is loaded when a worker starts
    await isolation.warm()

    async def round_of(about: Discovered) -> Any:
        try:
            return await evaluate(about, inventory, (HONEST, *policies), engine, NOW)
        except Unavailable:
            return None

    gc.collect()
    gc.freeze()  # what other tests left behind is not the rules' to be looked through
    try:
        async with watched() as loop:
            for _ in range(3):
                _, honest = await asyncio.gather(round_of(hostile), round_of(message("root:honest")))
    finally:
        gc.unfreeze()
        await isolation.close()
    return loop, honest


def cases() -> Iterator[Any]:
    """Each as a policy, and on a Placement, which has no variables; all but two in the long lane."""
    quick = {("a long constant that variables double", False), ("long constants in each rule", True)}
    for name, spec in POLICIES.items():
        for inline in (False,) if spec.variables else (False, True):
            marks = [] if (name, inline) in quick else [pytest.mark.long]
            yield pytest.param(name, inline, id=f"{name}, {'placement' if inline else 'policy'}", marks=marks)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "inline"), list(cases()))
async def test_a_hostile_workspace_delays_nobody_else(name: str, inline: bool) -> None:
    spec = POLICIES[name]
    if inline:
        loop, honest = await attack(message("root:hostile", *spec.rules))
    else:
        policy = PolicyEntry(workspace="root:hostile", name="p", spec=spec)
        loop, honest = await attack(message("root:hostile"), policy)
    assert max(loop.blocks) < LONGEST_BLOCK, sorted(loop.blocks)[-3:]
    assert [(each.rule, set(each.outcomes)) for each in honest.rules] == [("eu", {"t"}), ("taints", {"t"})]
    assert len(honest.targets) == ROWS

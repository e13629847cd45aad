"""What a tenant may take in this process is bounded too, and the bound is its own."""

from typing import Any

import numpy as np
import pytest

from services.policy.cel.engine import INLINE_SECONDS, Engine, Evaluation, Exhausted, Pending, Scene
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import compile_rule
from services.policy.evaluation.allowance import REMEMBERED, Allowances, Work
from services.policy.evaluation.columns import TargetColumns
from shared.model.target import Target

ROWS = 5_000
HONEST = compile_rule('target.labels.region == "eu" && target.nodes < 7')


@pytest.fixture(scope="module")
def inventory() -> TargetColumns:
    made = TargetColumns()
    made.update({f"w/{n}": Target(workspace="w", name=str(n), labels={"region": "eu"}, nodes=n) for n in range(ROWS)})
    return made


def scene(inventory: TargetColumns, tenant: str) -> Scene:
    return Scene(inventory, np.arange(ROWS), {}, 0.0, tenant)


def greedy(number: int) -> Any:
    """Reads forty labels that nobody else reads."""
    return compile_rule(" || ".join(f'target.hasLabel("k{number}-{n}")' for n in range(40)))


@pytest.mark.long
def test_a_tenant_that_reads_everything_is_isolated_and_others_are_not(inventory: TargetColumns) -> None:
    now = [0.0]
    engine = Engine(Isolation(), clock=lambda: now[0])
    spent, isolated = 0.0, 0
    for number in range(8):
        before = engine._allowances.left("greedy", now[0])
        isolated += isinstance(engine.begin(greedy(number), scene(inventory, "greedy")), Pending)
        spent += before - engine._allowances.left("greedy", now[0])
    assert isolated > 0
    assert spent <= INLINE_SECONDS
    assert isinstance(engine.begin(HONEST, scene(inventory, "honest")), Evaluation)
    now[0] += 60.0
    assert isinstance(engine.begin(greedy(100), scene(inventory, "greedy")), Evaluation)


def test_compiling_counts_and_what_is_compiled_stays_usable(inventory: TargetColumns) -> None:
    ticks = iter(range(1_000))
    engine = Engine(Isolation(), clock=lambda: float(next(ticks)))  # each compilation seems to take a second
    known = engine.compile("target.ready", (), "a")
    for number in (1, 2):
        engine.compile(f"target.nodes > {number}", (), "a")
    with pytest.raises(Exhausted, match="used up their time"):
        engine.compile("target.nodes > 3", (), "a")
    assert engine.compile("target.ready", (), "a") is known
    engine.compile("target.nodes > 99", (), "b")


def test_what_was_done_before_costs_nothing(inventory: TargetColumns) -> None:
    engine = Engine(Isolation(), clock=lambda: 0.0)
    engine.begin(HONEST, scene(inventory, "a"))
    left = engine._allowances.left("a", 0.0)
    for _ in range(50):
        assert isinstance(engine.begin(HONEST, scene(inventory, "a")), Evaluation)
    assert engine._allowances.left("a", 0.0) == left


async def test_isolated_rules_answer_the_same(inventory: TargetColumns) -> None:
    rule = compile_rule('target.labels.region == "eu" && target.nodes % 2 == 0')
    here = Scene(inventory, np.arange(40), {}, 0.0, "a")
    isolation = Isolation(deadline=20.0)
    try:
        inline = await Engine(isolation).evaluate(rule, here)
        elsewhere = await Engine(isolation, inline_cost=0).evaluate(rule, here, "target")
    finally:
        await isolation.close()
    assert (inline.method, elsewhere.method) == ("columns", "target")
    assert inline.outcomes.tolist() == elsewhere.outcomes.tolist()


def test_an_allowance_comes_back_slowly_and_tenants_are_bounded() -> None:
    allowances = Allowances(full=2.0, refill=0.1)
    allowances.spend("a", 1.5, 0.0)
    assert allowances.left("a", 5.0) == pytest.approx(1.0)
    assert allowances.left("a", 500.0) == 2.0
    allowances.spend("a", 99.0, 0.0)
    assert allowances.left("a", 0.0) == 0.0
    for number in range(REMEMBERED + 5):
        allowances.spend(str(number), 1.0, 0.0)
    assert allowances.left("a", 0.0) == 2.0
    assert len(allowances._left) == REMEMBERED


def test_work_is_taken_off_where_there_is_as_much() -> None:
    work = Work(limit=1.0)
    assert [work.afford(0.6), work.afford(0.6), work.afford(0.4)] == [True, False, True]
    assert work.spent == pytest.approx(1.0)

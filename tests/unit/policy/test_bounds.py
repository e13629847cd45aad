"""What a tenant may take in this process is bounded too, and the bound is its own."""

import math
from typing import Any

import numpy as np
import pytest

from services.policy.cel.engine import INLINE_SECONDS, Engine, Exhausted, Scene
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import Program, compile_rule, compile_seconds
from services.policy.evaluation.allowance import (
    FLEETING_SECONDS,
    REMEMBERED,
    TURN_SECONDS,
    Allowances,
    Turn,
    TurnOver,
    Work,
    column_seconds,
)
from services.policy.evaluation.columns import TargetColumns
from services.policy.language.diagnostics import InvalidExpression
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


async def begins(engine: Engine, program: Program, tenant: str, inventory: TargetColumns) -> str:
    """What comes of a rule of a message of its own."""
    while True:
        try:
            return begin(engine, program, tenant, inventory, Turn())
        except TurnOver:
            continue
        except Exhausted as error:
            return type(error).__name__


def begin(engine: Engine, program: Program, tenant: str, inventory: TargetColumns, turn: Turn) -> str:
    """What comes of a rule in one turn."""
    with engine.work(tenant, turn) as work:
        return type(engine.begin(program, scene(inventory, tenant), work)).__name__


@pytest.mark.long
async def test_a_tenant_that_reads_everything_is_isolated_and_others_are_not(inventory: TargetColumns) -> None:
    now = [0.0]
    engine = Engine(Isolation(), clock=lambda: now[0])
    spent, isolated = 0.0, 0
    for number in range(8):
        before = engine._allowances.left("greedy", now[0])
        isolated += await begins(engine, greedy(number), "greedy", inventory) != "Evaluation"
        spent += before - engine._allowances.left("greedy", now[0])
    assert isolated > 0
    assert spent <= INLINE_SECONDS
    assert await begins(engine, HONEST, "honest", inventory) == "Evaluation"


async def test_compiling_is_paid_for_before_and_what_is_compiled_stays_usable(inventory: TargetColumns) -> None:
    engine = Engine(Isolation(), clock=lambda: 0.0)
    known = await engine.compile("target.ready", (), "a")
    left = engine._allowances.left("a", 0.0)
    assert left < INLINE_SECONDS
    engine._allowances.spend("a", left, 0.0)
    with pytest.raises(Exhausted, match="used up their time"):
        await engine.compile("target.nodes > 3", (), "a")
    assert await engine.compile("target.ready", (), "a") is known
    await engine.compile("target.nodes > 99", (), "b")


async def test_what_does_not_compile_is_paid_for_once() -> None:
    engine = Engine(Isolation(), clock=lambda: 0.0)
    for _ in range(3):
        with pytest.raises(InvalidExpression):
            await engine.compile("target.redy", (), "a")
    assert engine._allowances.left("a", 0.0) == INLINE_SECONDS - compile_seconds("target.redy", ())


def test_what_was_done_before_costs_nothing(inventory: TargetColumns) -> None:
    engine = Engine(Isolation(), clock=lambda: 0.0)
    begin(engine, HONEST, "a", inventory, Turn())
    left = engine._allowances.left("a", 0.0)
    for _ in range(50):
        assert begin(engine, HONEST, "a", inventory, Turn()) == "Evaluation"
    assert engine._allowances.left("a", 0.0) == left


def test_a_rule_goes_on_in_its_next_turn_where_it_stopped(inventory: TargetColumns) -> None:
    engine = Engine(Isolation(), clock=lambda: 0.0)
    rule, turns = compile_rule(" && ".join(f'target.labels["{n}"] == "x"' for n in range(7))), 0
    while True:
        turns += 1
        turn = Turn()
        try:
            assert begin(engine, rule, "a", inventory, turn) == "Evaluation"
            break
        except TurnOver:
            assert 0 < turn.spent <= TURN_SECONDS
    assert turns == math.ceil(7 * column_seconds(ROWS) / TURN_SECONDS)
    assert engine._allowances.left("a", 0.0) == pytest.approx(INLINE_SECONDS - 7 * column_seconds(ROWS))


def test_what_is_not_remembered_fits_into_a_turn_beside_a_column() -> None:
    assert FLEETING_SECONDS + column_seconds(10**9) <= TURN_SECONDS
    work = Work(limit=1.0, turn=Turn())
    assert work.afford(FLEETING_SECONDS, kept=False)
    assert not work.afford(0.001, kept=False)
    assert work.afford(TURN_SECONDS - FLEETING_SECONDS)
    with pytest.raises(TurnOver):
        work.afford(0.001)


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

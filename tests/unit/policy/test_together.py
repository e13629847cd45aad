"""Several targets at once: the engine is asked so where that is quicker, and nobody sees a difference."""

from typing import Any

import pytest

from services.policy.cel import standard
from services.policy.cel.program import compile_rule
from services.policy.cel.standard import TOGETHER, WORTHWHILE, outcome_of, outcomes_on

CONTEXT = {"workspace": "root:a"}
MANY = 3 * WORTHWHILE + 5


def targets(count: int, **others: Any) -> list[dict[str, Any]]:
    """Alike, but that those in these places (`at_3`) have something else as their taints."""
    made: list[dict[str, Any]] = [{"name": f"n{n}", "taints": [{"key": f"k{n % 3}"}]} for n in range(count)]
    for place, taints in others.items():
        made[int(place.removeprefix("at_"))]["taints"] = taints
    return made


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("target.taints.exists(t, t.key == 'k1')", targets(MANY)),
        ("target.taints.exists(t, t.key == 'k1')", targets(WORTHWHILE - 1)),
        ("target.taints.exists(t, t.key == 'k1')", []),
        ("target.taints.exists(t, t.key == 'k1')", targets(MANY, at_0=[{}])),
        ("target.taints.exists(t, t.key == 'k1')", targets(MANY, at_100=3, at_101=[{}])),
        ("target.taints.exists(t, t.key == 'k1')", targets(MANY, **{f"at_{MANY - 1}": "text"})),
        ("target.taints.all(t, t.key != 'k1') && target.name != 'n5'", targets(MANY)),
        ("target.taints.map(t, t.key) == ['k1'] && workspace == 'root:a'", targets(MANY)),
        ("target.taints.all(a, target.taints.all(b, true))", targets(MANY, at_70=[{"key": "k"}] * 40)),  # many steps
        ("dyn(target.taints[0].key)", targets(MANY)),  # no boolean
    ],
)
def test_outcomes_and_what_went_wrong_are_those_of_each_target_alone(expression: str, given: list[Any]) -> None:
    program = compile_rule(expression)
    assert program.together
    alone = [outcome_of(program.compiled, {**CONTEXT, "target": each}, {}) for each in given]
    assert list(outcomes_on(program.compiled, program.calls, CONTEXT, given, program.text)) == alone


def test_steps_count_for_each_target_and_not_for_all_that_are_asked_about_at_once() -> None:
    """The engine stops at some 10,000 steps of an evaluation."""
    given = targets(WORTHWHILE)
    for each in given:
        each["taints"] = [{"key": "k"}] * 30
    program = compile_rule("target.taints.all(a, target.taints.all(b, a.key == b.key))")
    assert list(outcomes_on(program.compiled, {}, CONTEXT, given, program.text)) == [("t", "")] * WORTHWHILE
    at_once = standard.compile_text(f"[{', '.join(['target'] * TOGETHER)}].map(target, {program.text})")
    with pytest.raises(RuntimeError, match="budget"):
        at_once.eval(None, {"target": given[0]})


@pytest.mark.parametrize(
    "expression", ["hasLabel(target, 'x')", "target.name in ['" + "x" * 1_000 + "']", "target.name.matches(target.id)"]
)
def test_what_has_calls_is_long_or_could_take_long_is_not_asked_of_several_at_once(expression: str) -> None:
    assert not compile_rule(expression).together

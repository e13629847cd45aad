"""CEL's language and its libraries, as far as rules can use them: cases in our own words and data, by area.

Each holds whatever evaluates it: columns or the engine in the worker, the engine target by target, and the engine alone
on the text as it is written.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.policy.cel import standard
from services.policy.cel.admission import examine
from services.policy.cel.engine import Engine, Scene
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import node_of, prepare
from services.policy.evaluation.columns import TargetColumns
from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import InvalidExpression
from services.policy.language.syntax import Call, walk
from services.policy.language.variables import read_target
from shared.api import Rule
from shared.model.target import Target

TARGET = Target(
    workspace="root", name="berlin", labels={"tier": "gold", "a/b": "x"}, capacity={"cpu": 8.0}, nodes=3,
    kubernetes_version="v1.10.2",
)  # fmt: skip
NOW = datetime(2026, 11, 22, 13, 5, 7, tzinfo=UTC)
INVENTORY = TargetColumns()
INVENTORY.update({TARGET.id: TARGET})
SCENE = Scene(INVENTORY, np.array([0]), {"now": NOW}, NOW.timestamp(), "root")

CASES = Path(__file__).with_name("cases.txt").read_text().splitlines()


def cases() -> Iterator[tuple[str, str, str]]:
    """Area, expression, and what it is."""
    area = ""
    for line in CASES:
        if line.startswith("["):
            area = line.strip("[]")
        elif line and not line.startswith("#"):
            yield area, line[2:], line[0]
    yield "strings", "'''a\nb''' == 'a\\nb'", "t"


ALL = list(cases())


async def outcome(expression: str, method: Any) -> str:
    """`t`, `f` or `e`; `!` for what does not compile."""
    try:
        program = prepare(node_of(expression), expression)
    except InvalidExpression:
        return "!"
    engine = Engine(Isolation(), inline_cost=float("inf"))
    return chr((await engine.evaluate(program, SCENE, method)).outcomes[0])


@pytest.mark.parametrize(("area", "expression", "expected"), ALL)
async def test_the_language(area: str, expression: str, expected: str) -> None:
    assert [await outcome(expression, method) for method in (None, "memo", "target")] == [expected] * 3, area


@pytest.mark.parametrize(("area", "expression", "expected"), ALL)
def test_the_engine_on_its_own_says_the_same(area: str, expression: str, expected: str) -> None:
    if "transformMap" in expression or "has(target.cost.p" in expression or _calls_ours(expression):
        return  # what is ours, the engine does not know
    try:
        written = standard.compile_text(expression)
    except standard.TooDeep:
        assert expected == "!"
        return
    variables = {"target": read_target(TARGET, NOW.timestamp()), "now": NOW}
    assert standard.outcome_of(written, variables, {})[0] == expected


def _calls_ours(expression: str) -> bool:
    try:
        node = node_of(expression)
    except InvalidExpression:
        return False
    return any(isinstance(each, Call) and each.name in FUNCTIONS for each in walk(node)) or ".compareTo" in expression


TYPED = {"[1, 2][1.0] == 2"}
"""What a checker of types refuses, though it has an answer: the index of a list is an int."""


def test_what_has_an_answer_is_not_refused_when_it_is_written() -> None:
    answered = [expression for _, expression, expected in ALL if expected in "tf"]
    assert len(answered) > 250
    rules = {each: (Rule(name="r", expression=each),) for each in answered}
    refused = {each for each, rule in rules.items() if any(not found.warning for found in examine(rule))}
    assert refused == TYPED

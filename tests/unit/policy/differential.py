"""Random rules over random, awkward targets: every method has to answer as the engine does on its own, row by row.

    python -m tests.unit.policy.differential 630

compares 630 rules and prints what was compared, as one line of JSON; at the first difference it fails with the
rule. It is a program of its own, and not a test function, because tracing its coverage would take minutes.
"""

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
from cel_expr_python import cel
from hypothesis import HealthCheck, Phase, example, given, settings
from msgspec import structs

from services.policy.cel import standard
from services.policy.cel.calls import invoke
from services.policy.cel.engine import Engine, Scene
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import Program, node_of, prepare
from services.policy.evaluation.columns import TargetColumns
from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import InvalidExpression
from services.policy.language.variables import read_target
from shared.model.target import Target

from .expressions import NOW, make_target, rules

ROWS = 80

CONTEXT = {
    "workspace": "root:a",
    "placement": {"namespace": "n", "name": "cart", "labels": {"tier": "gold"}, "priority": 3},
    "workload": [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": "n",
            "name": "cart",
            "replicas": 2,
            "requests": {"cpu": 1.5},
            "labels": {},
        }
    ],
    "request": {"user": "ann", "groups": ["eu", "devs"]},
    "now": datetime(2027, 1, 15, 8, tzinfo=UTC),
}
COST = "has(target.cost.perCpuHour)"  # where no cost is known, it is not there either, and no error
DEFINITIONS = (("region", 'target.labels["region"]'),)

OURS = [standard._declared(function) for name, function in FUNCTIONS.items() if name != "requested"]
"""Our functions as the engine calls them itself; `requested` in the short form that rules write."""


def requested(resource: str) -> Any:
    return invoke("requested", [CONTEXT["workload"], resource])


REQUESTED = cel.FunctionDecl(
    "requested",
    [
        cel.Overload(f"requested_{member}", return_type=cel.Type.DYN, parameters=kinds, is_member=member, impl=call)
        for member, kinds, call in (
            (False, [cel.Type.STRING], requested),
            (True, [cel.Type.List(cel.Type.DYN), cel.Type.STRING], lambda _, resource: requested(resource)),
        )
    ],
)


def method(name: str, result: Any, answer: Any) -> Any:
    """One of the methods that are operators in what is evaluated."""
    overloads = [
        cel.Overload(f"{name}_{number}", return_type=result, parameters=[kind, kind], is_member=True, impl=answer)
        for number, kind in enumerate((cel.Type.DOUBLE, cel.Type.STRING))
    ]
    return cel.FunctionDecl(name, overloads)


METHODS = [
    method("isGreaterThan", cel.Type.BOOL, lambda one, other: one > other),
    method("isLessThan", cel.Type.BOOL, lambda one, other: one < other),
    method("compareTo", cel.Type.INT, lambda one, other: (one > other) - (one < other)),
]
ENVIRONMENT = cel.NewEnv(
    config=standard.library(),
    variables={
        **dict.fromkeys((*CONTEXT, "target", "variables"), cel.Type.DYN),
        "now": cel.Type.TIMESTAMP,
    },
    functions=[*OURS, *METHODS, REQUESTED],
)


def plain(expression: Any, target: dict[str, Any]) -> str:
    """What the engine says of an expression as it is written, without anything of ours but functions."""
    variables = {"region": target["labels"]["region"]} if "region" in target["labels"] else {}
    return standard.outcome_of(expression, {**CONTEXT, "target": target, "variables": variables}, {})[0]


def population() -> list[Target]:
    """The same targets at every call, whatever was imported before."""
    unique: dict[str, Target] = {}
    for number, target in enumerate(map(make_target, range(ROWS))):
        name = f"{target.name}-{number}" if target.id in unique else target.name
        unique[f"{target.workspace}/{name}"] = structs.replace(target, name=name)
    return list(unique.values())


TARGETS = population()
INVENTORY = TargetColumns()
INVENTORY.update({target.id: target for target in TARGETS})


PLAIN_TARGETS = [read_target(target, NOW) for target in TARGETS]


def compile_loosely(expression: str) -> Program | None:
    """Without lint and type check: tiers must agree on badly typed rules too."""
    try:
        return prepare(node_of(expression, DEFINITIONS), expression)
    except InvalidExpression:
        return None


async def outcomes(program: Program, method: Any) -> tuple[str, str]:
    scene = Scene(INVENTORY, np.array(INVENTORY.rows([t.id for t in TARGETS])), CONTEXT, NOW, "root:a")
    evaluation = await Engine(Isolation(), inline_cost=float("inf")).evaluate(program, scene, method)
    return evaluation.outcomes.tobytes().decode(), evaluation.method


def compare(expression: str, also: Any = None) -> tuple[str, str] | None:
    """What the engine says on every target, and the method that said the same; None for what does not compile.

    The method `also` has to say the same. Raises AssertionError where they differ.
    """
    program = compile_loosely(expression)
    if program is None:
        return None
    written = ENVIRONMENT.compile(expression.replace(COST, f"(has(target.cost) && {COST})"), disable_check=True)
    expected = "".join(plain(written, target) for target in PLAIN_TARGETS)
    methods = (None, also) if also else (None,)
    used = []
    for method in methods:
        found, answered_by = asyncio.run(outcomes(program, method))
        assert found == expected, f"{answered_by}: {expression}\nfound    {found}\nexpected {expected}"
        used.append(answered_by)
    return expected, used[0]


def compare_many(examples: int) -> Counter[str]:
    """Compare so many random rules on `ROWS` targets each, one in eight in two tiers; what was seen."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),  # shrinking would take minutes; the failing rule is small enough
    )
    @given(rules)
    @example("(target.nodes * 2147483648) / 2 > 0")
    @example('(target.capacity["cpu"] + 0.0) / (target.capacity["memory"] + 0.0) > 1.0')
    @example('target.capacity["cpu"] == target.capacity["cpu"]')
    @example('target.labels["region"] < "us"')
    @example("target.nodes == 3.0 || target.nodes == 3")
    @example("(1 && true) || target.ready")
    @example('"" == target.labels["empty"]')
    @example('("" + "a").contains(target.labels["empty"])')
    @example('0.0 == available(target, "cpu")')  # a resource that is allocated, but not allocatable
    def each(expression: str) -> None:
        compared = compare(expression, also="memo" if seen["rules"] % 8 == 0 else None)
        if compared is None:
            seen["refused"] += 1
            return
        expected, used = compared
        seen[f"rows by {used}"] += len(expected)
        seen["rows"] += len(expected)
        seen["errors"] += expected.count("e")
        seen["rules"] += 1

    each()
    return seen


if __name__ == "__main__":
    print(json.dumps(compare_many(int(sys.argv[1]))))

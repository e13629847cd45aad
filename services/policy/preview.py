"""A policy tried out: how its rules are evaluated, and what they say of targets; behind `moorage policy`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.policy.cel.engine import Engine, Scene
from services.policy.cel.isolation import Isolation
from services.policy.core import InForce
from services.policy.evaluation.columns import TargetColumns
from services.policy.language.variables import read_request
from shared.api import PlacementSpec, WorkloadSelector
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject
from shared.model.target import Target

COLUMNS = {"columns": "all targets at once", "memo": "once per distinct values", "target": "once per target"}


@dataclass(frozen=True, slots=True)
class Planned:
    """How a rule is evaluated, and why so."""

    rule: str
    method: str
    why: str
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """One rule on one target: `t`, `f`, `e` (with what went wrong), or `-` where the targetSelector leaves it out."""

    target: str
    rule: str
    effect: str
    outcome: str
    error: str = ""


async def plan(policy: InForce) -> list[Planned]:
    """How each rule of a valid policy is evaluated. Tried out on an example; data can make a rule leave the columns."""
    target = example_target()
    scene = _scene([target], example_request(), 0.0, policy.workspace)
    engine = Engine(Isolation(), inline_cost=float("inf"))
    planned = []
    for rule in policy.rules:
        program = engine.programs.get(rule.expression, policy.definitions)
        evaluation = await engine.evaluate(program, scene)
        reads = ("target",) if program.reads is None else tuple(sorted("target." + ".".join(p) for p in program.reads))
        why = f"{COLUMNS[evaluation.method]}: {evaluation.why}"
        planned.append(Planned(rule.name, evaluation.method, why, (*reads, *sorted(program.context))))
    return planned


async def run(policy: InForce, targets: Sequence[Target], request: Request, now: float) -> list[Tested]:
    """Every rule of a valid policy on every target, by target; each error in full."""
    isolation = Isolation()
    engine = Engine(isolation)
    tested = []
    try:
        for rule in policy.rules:
            program = engine.programs.get(rule.expression, policy.definitions)
            for target in targets:
                outcome, error = "-", ""
                if policy.covers(target):
                    evaluation = await engine.evaluate(program, _scene([target], request, now, policy.workspace))
                    outcome, error = chr(evaluation.outcomes[0]), evaluation.error
                tested.append(Tested(target.id, rule.name, rule.effect, outcome, error))
    finally:
        await isolation.close()
    return sorted(tested, key=lambda each: each.target)


def _scene(targets: Iterable[Target], request: Request, now: float, tenant: str) -> Scene:
    inventory = TargetColumns()
    inventory.update({target.id: target for target in targets})
    rows = np.arange(len(inventory), dtype=np.intp)
    return Scene(inventory, rows, read_request(request, now), now, tenant)


def example_target() -> Target:
    """A target with something in every field."""
    return Target(workspace="root:platform", name="example", labels={"region": "eu"}, ready=True, nodes=3)


def example_request() -> Request:
    """A placement of one Deployment with three replicas."""
    workload = WorkloadSelector(api_version="apps/v1", kind="Deployment", name="example")
    example = WorkloadObject(
        api_version="apps/v1", kind="Deployment", namespace="default", name="example", replicas=3, requests={"cpu": 0.5}
    )
    return Request(
        placement=PlacementRef(workspace="root:example", namespace="default", name="example"),
        head=Head(uid="", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(workload=(workload,)),
        workload=(example,),
    )

"""A policy tried out: how its rules are evaluated, and what they say of targets; behind `moorage policy`."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from services.policy.cel.engine import Engine, Scene
from services.policy.cel.isolation import Isolation
from services.policy.core import InForce, Judged, in_force, judge
from services.policy.evaluation.columns import TargetColumns
from services.policy.evaluation.outcomes import ERROR
from services.policy.language.variables import read_request
from services.policy.stage import Ready, begin, compiled, finish
from shared.api import PlacementSpec, WorkloadSelector
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject
from shared.model.target import Target

_HOUR = 3600.0
"""Passes at each look at the clock: until then all that a workspace's rules may take has come back."""

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
    """One rule on one target: `t`, `f`, `e` (with what went wrong), or `-` where the targetSelector leaves it out.

    `message` is the reason with which an enforced rule rejects the target; empty where it does not. `exemption` names
    the PolicyException by which the rule does not count.
    """

    target: str
    policy: str
    rule: str
    effect: str
    outcome: str
    error: str = ""
    enforced: bool = True
    message: str = ""
    exemption: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What all rules in force make of one target. `score` is None where it is rejected, or nothing scores."""

    target: str
    kept: bool
    score: float | None
    rules: tuple[Tested, ...]


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


class Trials:
    """Judges targets for one request after the other, as the worker does. Close it with `async with`.

    Time counts for each rule alone, since nobody waits behind rules that are tried out.
    """

    def __init__(self, targets: Iterable[Target]) -> None:
        self._inventory = TargetColumns()
        self._inventory.update({target.id: target for target in targets})
        self._isolation = Isolation()
        self._engine = Engine(self._isolation, clock=itertools.count(0.0, _HOUR).__next__)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._isolation.close()

    async def assess(
        self, request: Request, targets: Sequence[str], policies: Iterable[PolicyEntry], now: float
    ) -> list[Assessment]:
        """What the rules in force for a request say of each target, by id, at a time in seconds since the epoch.

        Raises `InvalidInlineRule` where a rule of the Placement itself is invalid, `Unavailable` where no process can
        be started to evaluate in.
        """
        ready = await compiled(in_force(request, policies, now), self._engine)
        scene = self._scene(request, targets, now)
        judged = await self._outcomes(ready, scene)
        by_rule = [await self._tested(*pair, scene, targets) for pair in zip(ready, judged, strict=True)]
        judgement = judge(targets, judged)
        scores: dict[int, float | None] = dict.fromkeys(judgement.kept.tolist())
        if judgement.scores:
            scores = dict(zip(judgement.kept.tolist(), judgement.scores, strict=True))
        return [
            Assessment(target, number in scores, scores.get(number), tuple(each[number] for each in by_rule))
            for number, target in enumerate(targets)
        ]

    def _scene(self, request: Request, targets: Sequence[str], now: float) -> Scene:
        rows = self._inventory.rows(tuple(targets))
        return Scene(self._inventory, rows, read_request(request, now), now, request.placement.workspace)

    async def _outcomes(self, ready: Sequence[Ready], scene: Scene) -> list[Judged]:
        return [await finish(each, self._engine) for each in begin(ready, scene, self._engine)]

    async def _tested(self, ready: Ready, judged: Judged, scene: Scene, targets: Sequence[str]) -> list[Tested]:
        """One rule on all targets: each with what went wrong there, and with the message by which it is rejected."""
        messages = {target: each.message for each in judge(targets, [judged]).rejections for target in each.targets}
        tested = []
        for number, target in enumerate(targets):
            outcome, error = chr(judged.outcomes[number]), ""
            if judged.outcomes[number] == ERROR:
                (alone,) = await self._outcomes([ready], replace(scene, rows=scene.rows[[number]]))
                error = alone.error
            policy, rule = judged.policy, judged.rule
            tested.append(
                Tested(
                    target=target,
                    policy=policy.id,
                    rule=rule.name,
                    effect=rule.effect,
                    outcome=outcome,
                    error=error,
                    enforced=policy.enforced,
                    message=messages.get(target, ""),
                    exemption=policy.exemption,
                )
            )
        return tested


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

"""Placements, decisions and reports as the tests of status need them."""

from typing import Any

from services.status.health import TargetState, Thresholds
from services.status.standing import LastDecision
from shared.api import (
    ObjectMeta,
    Placement,
    PlacementSpec,
    PlacementStatus,
)
from shared.model.decision import Choice, Refusal
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.messages import Decided

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
HEAD = Head(uid="u1", generation=3, attempt=5)
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
EAST, WEST = "root:platform/east", "root:platform/west"
USUAL = Thresholds()


def one(health: Any, replicas: int | None = None, ready: int | None = None, name: str = "web") -> ObjectHealth:
    return ObjectHealth(
        ref=f"apps/v1 Deployment shop/{name}", health=health, message="why", replicas=replicas, ready=ready
    )


def many(**counts: int) -> list[ObjectHealth]:
    return [one(health, name=f"{health}-{n}") for health, count in counts.items() for n in range(count)]


def state(health: Any = "Healthy", phase: str = "Applied", target: str = EAST, **more: Any) -> TargetState:
    return TargetState(id=target, phase=phase, health=health, **more)


def placement(status: PlacementStatus | None = None, *, deleted: bool = False, suspend: bool = False) -> Placement:
    meta = ObjectMeta(name="web", uid="u1", generation=3, deletion_timestamp=NOW if deleted else None)
    return Placement(metadata=meta, spec=PlacementSpec(suspend=suspend), status=status or PlacementStatus())


def decision(*targets: str) -> LastDecision:
    return LastDecision(attempt=5, generation=3, decided_at=NOW, selected=dict.fromkeys(targets, 2))


def decided(*targets: str, refusal: Refusal | None = None, **more: Any) -> Decided:
    choices = tuple(Choice(target=each, score=1.0) for each in targets)
    return Decided(placement=REF, head=HEAD, selected=choices, refusal=refusal, considered=8, trace="t" * 32, **more)


def report(target: str = EAST, phase: str = "Applied", *objects: ObjectHealth, message: str = "") -> TargetReport:
    return TargetReport(placement=REF, head=HEAD, target=target, phase=phase, objects=objects, message=message)

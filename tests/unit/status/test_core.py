"""From objects to targets, from targets to the Placement."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.status import core
from services.status.core import TargetState, Thresholds
from services.status.settings import StatusSettings
from shared.api import (
    ObjectMeta,
    Placement,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementSpec,
    PlacementStatus,
    Rejection,
    ScoredTarget,
    TargetReference,
    get_condition,
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

HEALTHS = ("Healthy", "Progressing", "Degraded", "Unhealthy", "Unknown")


def one(health: Any, replicas: int | None = None, ready: int | None = None, name: str = "web") -> ObjectHealth:
    return ObjectHealth(
        ref=f"apps/v1 Deployment shop/{name}", health=health, message="why", replicas=replicas, ready=ready
    )


def many(**counts: int) -> list[ObjectHealth]:
    return [one(health, name=f"{health}-{n}") for health, count in counts.items() for n in range(count)]


@pytest.mark.parametrize(
    ("objects", "health"),
    [
        ([], "Healthy"),
        (many(Healthy=3), "Healthy"),
        (many(Healthy=9, Progressing=1), "Progressing"),
        (many(Healthy=9, Unknown=1), "Progressing"),
        (many(Healthy=1, Unknown=1), "Unknown"),
        (many(Healthy=7, Unhealthy=3), "Unhealthy"),
        (many(Healthy=8, Unhealthy=2), "Degraded"),
        ([one("Degraded", 10, 10)], "Healthy"),
        ([one("Degraded", 10, 9)], "Healthy"),
        ([one("Degraded", 10, 8)], "Degraded"),
        ([one("Degraded", 10, 5)], "Degraded"),
        ([one("Degraded", 10, 4)], "Unhealthy"),
        ([one("Degraded", 1, 0), one("Healthy", 99, 99)], "Healthy"),
        ([one("Degraded", 0, 0)], "Healthy"),
    ],
)
def test_a_target_is_as_healthy_as_the_shares_of_its_objects(objects: list[ObjectHealth], health: str) -> None:
    assert core.target_health(objects, USUAL)[0] == health


def test_the_worst_object_says_why() -> None:
    found = core.target_health([one("Progressing", name="slow"), one("Unhealthy", name="dead")], USUAL)
    assert found == ("Unhealthy", "Deployment shop/dead: why")
    assert core.target_health([ObjectHealth(ref="v1 Service shop/s", health="Unknown")], USUAL) == (
        "Unknown",
        "Service shop/s is Unknown",
    )


def state(health: Any = "Healthy", phase: str = "Applied", target: str = EAST, **more: Any) -> TargetState:
    return TargetState(id=target, phase=phase, health=health, **more)


@pytest.mark.parametrize(
    ("targets", "health"),
    [
        ([state()], "Healthy"),
        ([state(), state("Progressing")], "Progressing"),
        ([state(), state("Unknown")], "Progressing"),
        ([state(), state(), state(), state("Unknown", silent="lost")], "Degraded"),
        ([state(), state("Unknown", silent="lost")], "Unknown"),
        ([state(), state(), state("Unhealthy")], "Unhealthy"),
        ([state(), state(), state(), state("Unhealthy")], "Degraded"),
        ([state(), state("Degraded")], "Degraded"),
    ],
)
def test_a_placement_is_as_healthy_as_the_shares_of_its_targets(targets: list[TargetState], health: str) -> None:
    assert core.overall_health(targets, USUAL) == health


@given(st.lists(st.sampled_from(HEALTHS), max_size=12))
def test_health_does_not_depend_on_order(healths: list[str]) -> None:
    objects = [one(health, 2, 1, name=str(number)) for number, health in enumerate(healths)]
    assert core.target_health(objects, USUAL)[0] == core.target_health(objects[::-1], USUAL)[0]
    targets = [state(health) for health in healths]
    assert core.overall_health(targets, USUAL) == core.overall_health(targets[::-1], USUAL)


@given(st.lists(st.sampled_from(HEALTHS), min_size=1, max_size=12))
def test_all_healthy_is_healthy_and_nothing_else_is(healths: list[str]) -> None:
    objects = [one(health, 1, int(health == "Healthy"), name=str(number)) for number, health in enumerate(healths)]
    strict = Thresholds(ready_degraded=1.0)
    assert (core.target_health(objects, strict)[0] == "Healthy") is (set(healths) == {"Healthy"})


def placement(status: PlacementStatus | None = None, *, deleted: bool = False, suspend: bool = False) -> Placement:
    meta = ObjectMeta(name="web", uid="u1", generation=3, deletion_timestamp=NOW if deleted else None)
    return Placement(metadata=meta, spec=PlacementSpec(suspend=suspend), status=status or PlacementStatus())


def decision(*targets: str, **more: Any) -> PlacementDecision:
    selected = tuple(
        ScoredTarget(target=TargetReference(workspace="root:platform", name=each.rpartition("/")[2]), replicas=2)
        for each in targets
    )
    status = PlacementDecisionStatus(observed_generation=3, attempt=5, selected=selected, decided_at=NOW, **more)
    return PlacementDecision(metadata=ObjectMeta(name="web", namespace="shop"), status=status)


def decided(*targets: str, refusal: Refusal | None = None, **more: Any) -> Decided:
    choices = tuple(Choice(target=each, score=1.0) for each in targets)
    return Decided(placement=REF, head=HEAD, selected=choices, refusal=refusal, considered=8, trace="t" * 32, **more)


def report(target: str = EAST, phase: str = "Applied", *objects: ObjectHealth, message: str = "") -> TargetReport:
    return TargetReport(placement=REF, head=HEAD, target=target, phase=phase, objects=objects, message=message)


def aggregate(
    targets: list[TargetState], found: PlacementDecision | None = None, now: str = NOW, **more: Any
) -> PlacementStatus:
    of = more.pop("of", placement())
    return core.aggregate(of, found, targets, now, thresholds=USUAL, **more)


def said(status: PlacementStatus, type: str) -> tuple[str, str, str]:
    found = get_condition(status.conditions, type)
    assert found is not None
    return found.status, found.reason, found.message


def test_targets_are_those_selected_in_order_then_those_that_are_left() -> None:
    reports = [report(EAST, "Removing"), report(WEST, "Applied", one("Healthy"))]
    found = core.states(decision(WEST, "root:platform/north"), reports, {EAST: "Lost."}, USUAL)
    assert [(each.id, each.selected, each.phase, each.health, each.replicas) for each in found] == [
        (WEST, True, "Ready", "Healthy", 2),
        ("root:platform/north", True, "Pending", "Unknown", 2),
        (EAST, False, "Removing", "Unknown", None),
    ]
    assert [each.message for each in found] == ["", "Nothing is applied yet.", "Lost."]


@pytest.mark.parametrize(
    ("phase", "objects", "health", "message"),
    [
        ("Failed", (), "Unhealthy", "no rights"),
        ("Failed", (one("Healthy"),), "Healthy", "no rights"),
        ("Applying", (), "Healthy", "no rights"),
        ("Applied", (one("Unhealthy"),), "Unhealthy", "Deployment shop/web: why"),
    ],
)
def test_a_failed_binding_says_why_and_keeps_the_health_of_what_runs(
    phase: str, objects: tuple[ObjectHealth, ...], health: str, message: str
) -> None:
    (found,) = core.states(decision(EAST), [report(EAST, phase, *objects, message="no rights")], {}, USUAL)
    assert (found.health, found.message) == (health, message)


@pytest.mark.parametrize(
    ("healths", "silent", "phase"),
    [
        ((), "", "Ready"),
        (("Healthy", "Healthy"), "", "Ready"),
        (("Healthy", "Progressing"), "", "Applied"),
        (("Healthy", "Unknown"), "", "Applied"),
        (("Healthy", "Degraded", "Unknown"), "", "Degraded"),
        (("Healthy", "Unhealthy"), "", "Degraded"),
        (("Healthy",), "Lost.", "Applied"),
    ],
)
def test_a_target_has_the_phase_that_its_binding_has(healths: tuple[str, ...], silent: str, phase: str) -> None:
    reports = [report(EAST, "Applied", *(one(health, name=str(at)) for at, health in enumerate(healths)))]
    (found,) = core.states(decision(EAST), reports, {EAST: silent} if silent else {}, USUAL)
    assert (found.phase, found.applied) == (phase, True)


def test_a_ready_placement_says_so_with_counts() -> None:
    status = aggregate([state(), state(target=WEST)], decision(EAST, WEST), decided=decided(EAST, WEST))
    assert (status.phase, status.observed_generation, status.trace_id) == ("Ready", 3, "t" * 32)
    assert status.last_decision_time == NOW
    assert status.decision_ref is not None
    assert status.decision_ref.kind == "PlacementDecision"
    assert (status.counts.selected, status.counts.applied, status.counts.ready, status.counts.degraded) == (2, 2, 2, 0)
    assert said(status, "Scheduled") == ("True", "Passed", "2 targets of 8 chosen.")
    assert said(status, "Applied") == ("True", "Applied", "Applied in 2 of 2 targets.")
    assert said(status, "Healthy") == ("True", "Healthy", "Healthy in 2 of 2 targets.")
    assert said(status, "Ready") == ("True", "Ready", "Ready in 2 of 2 targets.")


def test_saying_the_same_again_changes_nothing() -> None:
    args = ([state(), state("Progressing", target=WEST)], decision(EAST, WEST))
    first = aggregate(*args, decided=decided(EAST, WEST))
    assert aggregate(*args, now=LATER, of=placement(first)) == first
    assert aggregate(*args, now=LATER, of=placement(first), decided=decided(EAST, WEST)) == first


def test_what_was_said_of_scheduling_stands_until_there_is_news() -> None:
    refusal = Refusal(code="NoFeasibleTarget", message="0/8 targets: 8 insufficient cpu")
    refused = aggregate(
        [], decision(rejected={"InsufficientResources": Rejection(count=8)}), decided=decided(refusal=refusal)
    )
    later = aggregate([], decision(), now=LATER, of=placement(refused))
    assert said(later, "Scheduled") == said(refused, "Scheduled")
    assert later.phase == "Unschedulable"


@pytest.mark.parametrize(
    ("code", "rejected", "expected"),
    [
        ("NoFeasibleTarget", ("NotAuthorized", "MissingAPI"), ("False", "Unknown", "False")),
        ("NoFeasibleTarget", (), ("False", "Unknown", "False")),
        ("NoFeasibleTarget", ("NotReady", "PolicyForbids"), ("True", "False", "False")),
        ("NoFeasibleTarget", ("NotReady", "InsufficientResources"), ("True", "True", "False")),
        ("BelowMinimumScore", (), ("True", "True", "False")),
        ("InvalidPolicy", (), ("True", "False", "False")),
        ("InvalidPlacement", (), ("True", "True", "False")),
    ],
)
def test_a_refusal_shows_on_the_stage_that_left_nothing(
    code: str, rejected: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    found = decision(rejected={reason: Rejection(count=1) for reason in rejected})
    status = aggregate([], found, decided=decided(refusal=Refusal(code=code, message="0/8 targets")))
    assert tuple(said(status, name)[0] for name in ("Discovered", "PolicySatisfied", "Scheduled")) == expected
    assert said(status, "Scheduled")[1:] == (code, "0/8 targets")
    assert status.phase == "Unschedulable"


def test_a_refusal_without_any_decision_shows_as_well() -> None:
    status = aggregate([], None, decided=decided(refusal=Refusal(code="NoFeasibleTarget", message="0/0 targets")))
    assert said(status, "Discovered")[0] == "False"
    assert status.decision_ref is None


@pytest.mark.parametrize(
    ("targets", "of", "news", "phase"),
    [
        ([], placement(), None, "Pending"),
        ([], placement(), decided(refusal=Refusal(code="Contended", message="x"), contended=True), "Scheduling"),
        ([state("Unknown", "Pending")], placement(), decided(EAST), "Scheduled"),
        ([state("Healthy", "Applying")], placement(), decided(EAST), "Applying"),
        ([state("Unknown", "Pending"), state()], placement(), decided(EAST, WEST), "Applying"),
        ([state("Progressing")], placement(), decided(EAST), "Applying"),
        ([state("Unknown")], placement(), decided(EAST), "Applying"),
        ([state()], placement(), decided(EAST), "Ready"),
        ([state("Unhealthy", "Failed")], placement(), decided(EAST), "Degraded"),
        ([state("Degraded")], placement(), decided(EAST), "Degraded"),
        ([state("Unknown", silent="Lost."), state()], placement(), decided(EAST), "Degraded"),
        ([state()], placement(deleted=True), decided(EAST), "Removing"),
        ([state()], placement(suspend=True), decided(EAST), "Suspended"),
        ([state(selected=False, phase="Removing")], placement(), None, "Pending"),
    ],
)
def test_the_phase_is_the_most_pressing_word(
    targets: list[TargetState], of: Placement, news: Decided | None, phase: str
) -> None:
    assert aggregate(targets, decision(EAST), of=of, decided=news).phase == phase


def test_conditions_name_the_target_that_is_behind() -> None:
    failing = state("Unhealthy", "Failed", WEST, message="no rights.")
    status = aggregate([state(), failing], decision(EAST, WEST), decided=decided(EAST, WEST))
    assert said(status, "Applied") == ("False", "Failed", "Applied in 1 of 2 targets; west: no rights.")
    assert said(status, "Healthy") == ("False", "Unhealthy", "Healthy in 1 of 2 targets; west: no rights.")
    assert said(status, "Ready")[0] == "False"
    waiting = aggregate([state("Progressing", "Applying")], decision(EAST), decided=decided(EAST))
    assert said(waiting, "Applied")[2] == "Applied in 0 of 1 target; east is Applying and Progressing."


def test_a_placement_whose_status_was_lost_is_scheduled_all_the_same() -> None:
    status = aggregate([state()], decision(EAST))
    assert said(status, "Scheduled")[0] == "True"
    assert (status.observed_generation, status.phase) == (3, "Ready")


def test_the_decision_in_one_sentence() -> None:
    assert core.chosen(decided(EAST, WEST)) == "Placed on 2 of 8 targets: east, west."
    assert core.chosen(decided(*(f"root:p/t{n}" for n in range(12)))).endswith("t8, t9 and 2 more.")


def test_thresholds_come_from_the_settings() -> None:
    settings = StatusSettings(unhealthy_share=0.1, ready_unhealthy_share=0.2, ready_degraded_share=0.3, stale_share=0.4)
    assert msgspec.structs.astuple(settings.thresholds) == (0.1, 0.2, 0.3, 0.4)

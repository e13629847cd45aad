"""From targets and decisions to the Placement's status."""

from typing import Any

import pytest

from services.status import core
from services.status.conditions import chosen
from services.status.health import TargetState
from services.status.standing import LastDecision
from shared.api import (
    Placement,
    PlacementStatus,
    get_condition,
)
from shared.model.decision import Refusal
from shared.pipeline.messages import Decided
from tests.unit.status.samples import (
    EAST,
    LATER,
    NOW,
    USUAL,
    WEST,
    decided,
    decision,
    placement,
    state,
)


def aggregate(
    targets: list[TargetState], found: LastDecision | None = None, now: str = NOW, **more: Any
) -> PlacementStatus:
    of = more.pop("of", placement())
    return core.aggregate(of, found, targets, now, thresholds=USUAL, **more)


def said(status: PlacementStatus, type: str) -> tuple[str, str, str]:
    found = get_condition(status.conditions, type)
    assert found is not None
    return found.status, found.reason, found.message


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
    refused = aggregate([], decision(), decided=decided(refusal=refusal))
    later = aggregate([], decision(), now=LATER, of=placement(refused))
    assert said(later, "Scheduled") == said(refused, "Scheduled")
    assert later.phase == "Unschedulable"


@pytest.mark.parametrize(
    ("code", "stage", "expected"),
    [
        ("NoFeasibleTarget", "discovery", ("False", "Unknown", "False")),
        ("NoFeasibleTarget", "policy", ("True", "False", "False")),
        ("NoFeasibleTarget", "scheduler", ("True", "True", "False")),
        ("BelowMinimumScore", "decision", ("True", "True", "False")),
        ("InvalidPolicy", "policy", ("True", "False", "False")),
        ("InvalidPlacement", "scheduler", ("True", "True", "False")),
        ("NoFeasibleTarget", "", ("True", "True", "False")),
        ("OfALaterRelease", "of-a-later-release", ("True", "True", "False")),
    ],
)
def test_a_refusal_shows_on_the_stage_that_left_nothing(code: str, stage: str, expected: tuple[str, str, str]) -> None:
    status = aggregate([], decision(), decided=decided(refusal=Refusal(code=code, message="0/8 targets", stage=stage)))
    assert tuple(said(status, name)[0] for name in ("Discovered", "PolicySatisfied", "Scheduled")) == expected
    assert said(status, "Scheduled")[1:] == (code, "0/8 targets")
    assert status.phase == "Unschedulable"


def test_a_refusal_without_any_decision_shows_as_well() -> None:
    refusal = Refusal(code="NoFeasibleTarget", message="0/0 targets", stage="discovery")
    status = aggregate([], None, decided=decided(refusal=refusal))
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
    assert chosen(decided(EAST, WEST)) == "Placed on 2 of 8 targets: east, west."
    assert chosen(decided(*(f"root:p/t{n}" for n in range(12)))).endswith("t8, t9 and 2 more.")


def test_a_placement_that_is_held_says_why_and_when_that_ended() -> None:
    assert get_condition(aggregate([state()], decision(EAST)).conditions, "Held") is None
    status = aggregate([state()], decision(EAST), held="It stays.")
    assert said(status, "Held") == ("True", "TooManyLost", "It stays.")
    assert said(aggregate([state()], decision(EAST), of=placement(status)), "Held")[0] == "False"

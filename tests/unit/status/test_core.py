"""From targets and decisions to the Placement's status."""

from typing import Any

import msgspec
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


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        ((), ""),
        ((None,), "t0"),
        ((3, 2), "t0:3,t1:2"),
        ((1, 1, 1), "t0:1,t1:1,t2:1"),
        ((1, 1, 1, 1, 1), "t0:1,t1:1,t2:1,+2"),
    ],
)
def test_where_it_is_is_said_in_short(replicas: tuple[int | None, ...], expected: str) -> None:
    targets = [TargetState(id=f"root:a/t{number}", replicas=each) for number, each in enumerate(replicas)]
    assert core.where(targets) == expected


def test_a_target_that_is_being_left_is_not_where_it_is() -> None:
    leaving = msgspec.structs.replace(state(target=WEST), selected=False)
    assert aggregate([state(), leaving], decision(EAST), decided=decided(EAST)).where == core.where([state()])


def test_what_policies_warn_of_is_a_condition_until_they_do_not() -> None:
    warned = aggregate([state()], decision(EAST), decided=decided(EAST, warning="Policies warn of east (spot)."))
    assert said(warned, "PolicyWarning") == ("True", "Warned", "Policies warn of east (spot).")
    assert said(aggregate([state()], decision(EAST), of=placement(warned)), "PolicyWarning")[0] == "True"
    after = aggregate([state()], decision(EAST), decided=decided(EAST), of=placement(warned))
    assert said(after, "PolicyWarning")[0] == "False"
    never = aggregate([state()], decision(EAST), decided=decided(EAST))
    assert get_condition(never.conditions, "PolicyWarning") is None


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


def test_a_part_of_the_workload_that_cannot_be_read_is_named_until_it_can() -> None:
    assert (
        get_condition(aggregate([state()], decision(EAST), decided=decided(EAST)).conditions, "WorkloadReadable")
        is None
    )
    lost = aggregate([state()], decision(EAST), decided=decided(EAST, unread="requester may not get Secret shop/a"))
    sentence = "requester may not get Secret shop/a. What is there of it stays as it was applied."
    assert said(lost, "WorkloadReadable") == ("False", "NotReadable", sentence)
    back = aggregate([state()], decision(EAST), of=placement(lost), decided=decided(EAST))
    assert said(back, "WorkloadReadable")[0] == "True"


def test_what_is_left_in_a_target_says_why_and_when_it_is_gone() -> None:
    left = state(phase="Removing", message="Deployment shop/web waits for finalizer a.", selected=False)
    assert get_condition(aggregate([state()], decision(EAST)).conditions, "Removing") is None
    status = aggregate([left], None)
    truth, reason, sentence = said(status, "Removing")
    assert (truth, reason) == ("True", "StillThere")
    assert sentence == "Still there in 1 target; east: Deployment shop/web waits for finalizer a."
    assert said(aggregate([state()], decision(EAST), of=placement(status)), "Removing")[0] == "False"


def test_a_target_that_is_left_in_good_order_is_not_told_of() -> None:
    waiting = state(phase="Applied", selected=False)
    assert get_condition(aggregate([state(), waiting], decision(EAST)).conditions, "Removing") is None


def test_what_runs_where_it_may_not_any_more_says_so_until_it_has_moved() -> None:
    unmet = "It runs where it may not be: east (must be in the EU)."
    news = decided(WEST, unmet=unmet)
    leaving = [state(target=WEST), state(target=EAST, selected=False)]
    status = aggregate(leaving, decision(WEST), decided=news)
    assert said(status, "PolicySatisfied") == ("False", "NotMetAnyMore", unmet)
    later = aggregate(leaving, decision(WEST), LATER, of=placement(status))
    assert said(later, "PolicySatisfied")[0] == "False"
    moved = aggregate([state(target=WEST)], decision(WEST), LATER, of=placement(later))
    assert said(moved, "PolicySatisfied")[0] == "True"


def test_what_cannot_move_says_so_until_it_is_decided_anew() -> None:
    refusal = Refusal(code="InsufficientCapacity", message="0/2 targets fit", stage="scheduler")
    news = decided(refusal=refusal, unmet="It runs where it may not be: east (must be in the EU).")
    status = aggregate([state()], decision(EAST), decided=news)
    again = aggregate([state()], decision(EAST), LATER, of=placement(status))
    assert said(again, "PolicySatisfied")[1] == "NotMetAnyMore"
    allowed = aggregate([state()], decision(EAST), LATER, of=placement(again), decided=decided(EAST))
    assert said(allowed, "PolicySatisfied")[0] == "True"


def test_where_no_target_is_wanted_it_is_idle_once_nothing_is_left() -> None:
    before = aggregate([state()], decision(EAST), decided=decided(EAST))
    leaving = aggregate([state(selected=False, phase="Removing")], decision(), of=placement(before), decided=decided())
    assert (leaving.phase, leaving.counts.selected) == ("Removing", 0)
    assert said(leaving, "Scheduled") == ("True", "NoneWanted", "No target is wanted.")
    assert said(leaving, "Ready")[:2] == ("False", "Removing")
    assert said(leaving, "Ready")[2] == "No target is wanted; it is still being removed from 1 target."
    idle = aggregate([], decision(), LATER, of=placement(leaving))
    assert (idle.phase, idle.phase_since) == ("Idle", LATER)
    assert said(idle, "Ready") == ("True", "NoneWanted", "No target is wanted, and nothing is left in any.")
    assert {said(idle, name)[1] for name in ("Discovered", "PolicySatisfied", "Applied", "Healthy")} == {"NoneWanted"}
    again = aggregate([state("Unknown", "Pending")], decision(EAST), of=placement(idle), decided=decided(EAST))
    assert (again.phase, said(again, "Ready")[0], said(again, "Discovered")[0]) == ("Scheduled", "False", "True")

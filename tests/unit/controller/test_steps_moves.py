"""The next step of a placement that is asked to look for better targets, or may leave only so many at a time."""

from typing import Any

import msgspec
import pytest

from services.controller.core.digest import SUSPENDED
from services.controller.core.evicting import noted_eviction
from services.controller.core.eviction import Sighting
from services.controller.core.observation import KnownDecision
from services.controller.core.steps import Hold, Nothing, Place
from shared.api import Placement
from shared.hub.names import EVICT_ANNOTATION
from shared.model.request import Cause, PreviousChoice
from shared.model.target import Target
from tests.unit.controller.test_steps import (
    GONE,
    HELD_BACK,
    LOST,
    NOW,
    ON_T,
    OVERDUE,
    STAYS,
    TAINT,
    THERE,
    UNDECIDED,
    T,
    U,
    entry,
    placement,
    step,
)

ASKED = Place(cause=Cause.of("Rebalance", "asked for"), looks=True)


def test_who_is_asked_to_look_for_better_targets_does_so_once() -> None:
    asks = placement(asks="at noon")
    assert step(placement=asks) == ASKED
    assert step(placement=asks, entry=entry(rebalance="in the morning", rebalance_since=2)) == ASKED
    assert step(placement=asks, entry=entry(rebalance="at noon", rebalance_since=3)) == Nothing()


def test_a_request_to_look_whose_round_was_lost_is_answered_by_the_next_and_so_is_one_beside_another_change() -> None:
    asks, lost = placement(asks="at noon"), entry(4, at=OVERDUE, rebalance="at noon", rebalance_since=4)
    found = step(placement=asks, entry=lost)
    assert (found.cause.detail, found.looks) == ("no answer to the last request", True)
    assert step(placement=asks, digest="x.b.c").looks
    assert not step(placement=asks, digest="x.b.c", entry=entry(rebalance="at noon", rebalance_since=3)).looks


def test_who_is_held_by_the_brake_or_has_no_target_or_is_suspended_does_not_look() -> None:
    asks = placement(asks="at noon")
    assert step(placement=asks, targets={T: HELD_BACK}, entry=entry(held=STAYS)) == Nothing()
    assert not step(placement=asks, **UNDECIDED, entry=entry(at=OVERDUE)).looks
    suspended = placement(asks="at noon", suspend=True, phase="Suspended")
    assert step(placement=suspended, entry=entry(digest=SUSPENDED)) == Nothing()


V = "root:p/v"
DRAINED = Sighting(target=Target(workspace="root:p", name="t", ready=True), expelling={TAINT: 1.0})
ON_ALL = KnownDecision(attempt=3, selected=tuple(PreviousChoice(target=each) for each in (T, U, V)))


@pytest.mark.parametrize(
    ("budget", "bound", "moved", "sightings", "leaving"),
    [
        (None, (), 0, (DRAINED, DRAINED, DRAINED), (T, U, V)),
        (2, (), 0, (DRAINED, DRAINED, DRAINED), (T, U)),
        (1, (), 0, (THERE, DRAINED, DRAINED), (U,)),
        (1, (), 0, (LOST, DRAINED, GONE), (V, T, U)),  # what is lost is left in any case
        (1, ("root:p/w",), 599, (DRAINED, DRAINED, DRAINED), ()),  # it is still being removed from another
        (2, ("root:p/w",), 599, (DRAINED, DRAINED, DRAINED), (T,)),
        (1, ("root:p/w",), 600, (DRAINED, DRAINED, DRAINED), (T,)),  # which holds up nobody for ever
    ],
)
def test_of_what_is_drained_it_leaves_as_many_targets_at_a_time_as_its_budget_is(
    budget, bound, moved, sightings, leaving
) -> None:
    wish = placement(stability={} if budget is None else {"disruptionBudget": budget})
    targets = dict(zip((T, U, V), sightings, strict=True)) | dict.fromkeys(bound, THERE)
    attempts = dict.fromkeys((T, U, V, *bound), 3)
    decision = msgspec.structs.replace(ON_ALL, moved_at=NOW - moved)
    found = step(placement=wish, decision=decision, targets=targets, attempts=attempts)
    assert (found.leaving if isinstance(found, Place) else ()) == leaving


def test_a_target_that_it_is_leaving_goes_on_being_left_before_another_begins() -> None:
    wish = placement(stability={"disruptionBudget": 1})
    seen: dict[str, Any] = {"decision": ON_ALL, "attempts": dict.fromkeys((T, U, V), 3)}
    targets = dict.fromkeys((T, U, V), DRAINED)
    assert step(placement=wish, **seen, targets=targets, entry=entry(leaving=(U,))) == Nothing()
    again = step(placement=wish, **seen, targets=targets, entry=entry(leaving=(U,), at=OVERDUE))
    assert again.leaving == (U,)


def evicts(request: str, **spec: Any) -> Placement:
    found = placement(**spec)
    metadata = msgspec.structs.replace(found.metadata, annotations={EVICT_ANNOTATION: request})
    return msgspec.structs.replace(found, metadata=metadata)


def test_who_is_asked_to_leave_a_target_is_decided_anew_once_without_it() -> None:
    asks = evicts(f"{T} 1")
    asked = Place(cause=Cause.of("Rebalance", f"asked to leave {T}"), leaving=(T,))
    assert step(placement=asks) == asked
    assert step(placement=evicts("t"), entry=entry(evict=f"{T} 0", evict_since=2)) == asked
    assert step(placement=asks, entry=entry(evict=f"{T} 1", evict_since=3)) == Nothing()
    assert step(placement=asks, entry=entry(4, at=OVERDUE, evict=f"{T} 1", evict_since=4)).leaving == (T,)
    assert step(placement=asks, digest="x.b.c").leaving == (T,)  # so does a round for another change
    assert step(placement=evicts(f"{U} 1")) == Nothing()
    assert step(placement=evicts(f"{T} 1", suspend=True, phase="Suspended"), entry=entry(digest=SUSPENDED)) == Nothing()


@pytest.mark.parametrize(("moved", "leaving"), [(599, ()), (601, (T,))])
def test_who_is_asked_to_leave_beyond_its_budget_does_so_when_it_allows(moved, leaving) -> None:
    wish = evicts(f"{T} 1", stability={"disruptionBudget": 1})
    decision = msgspec.structs.replace(ON_T, moved_at=NOW - moved)
    found = step(placement=wish, decision=decision, attempts={T: 3, U: 2}, targets={T: THERE, U: THERE})
    assert (found.leaving if isinstance(found, Place) else ()) == leaving


@pytest.mark.parametrize(
    ("request_", "leaving", "known", "expected"),
    [
        (f"{T} 1", (T,), ("", 0), (f"{T} 1", 4)),
        (f"{T} 1", (), ("", 0), ("", 0)),  # beyond its budget
        (f"{U} 1", (), ("", 0), (f"{U} 1", 4)),  # where it is not: so that it is no request when it is there later
        (f"{T} 1", (), (f"{T} 1", 2), (f"{T} 1", 2)),
        ("", (), (f"{T} 1", 2), ("", 4)),
    ],
)
def test_a_request_to_leave_is_seen_to_by_the_round_that_leaves_or_where_there_is_nothing_to_leave(
    request_, leaving, known, expected
) -> None:
    before = entry(evict=known[0], evict_since=known[1])
    assert noted_eviction(before, evicts(request_), ON_T, leaving, 4) == expected


def test_what_may_not_run_twice_stays_on_a_lost_target_and_says_what_to_do() -> None:
    wish = placement(asks="at noon", stability={"moves": "BreakBeforeMake", "rebalance": {"type": "WhenBetter"}})
    held = step(placement=wish, targets={T: LOST}, world_changed_at=NOW)
    assert isinstance(held, Hold)
    assert held.reason == "MayRunThere"
    assert held.why.startswith(f"It stays on {T}, which is lost: it may still run there")
    assert "moorage cluster leave t --abandon" in held.why
    # Nor does it look for better targets meanwhile, which it would wait for.
    noted = entry(at=NOW - 600, held=held.why, held_reason=held.reason)
    assert step(placement=wish, targets={T: LOST}, entry=noted, world_changed_at=NOW) == Nothing()
    assert step(placement=wish, targets={T: THERE}, entry=noted) == ASKED


@pytest.mark.parametrize(
    "sighting",
    [GONE, DRAINED, msgspec.structs.replace(LOST, expelling={TAINT: 1.0}), msgspec.structs.replace(THERE, closed=True)],
    ids=["its SyncTarget is gone", "drained", "drained and lost", "closed"],
)
def test_what_may_not_run_twice_leaves_by_somebodys_will(sighting: Sighting) -> None:
    wish = placement(stability={"moves": "BreakBeforeMake"})
    assert step(placement=wish, targets={T: sighting}).leaving == (T,)


def test_what_may_not_run_twice_and_is_held_by_the_brake_says_that() -> None:
    wish = placement(stability={"moves": "BreakBeforeMake"})
    assert step(placement=wish, targets={T: HELD_BACK}) == Hold(STAYS, "TooManyLost")

"""What is told of a status that was written: the phase, since when it is so, and of which attempt."""

import msgspec
import pytest

from services.status.core import displayed
from shared.api import PlacementStatus
from shared.model.refs import Head
from shared.model.report import TargetReport
from shared.pipeline.events import derive
from shared.pipeline.messages import Displayed
from tests.unit.status.samples import EAST, LATER, NOW, REF, WEST, decided, decision, placement, report, state
from tests.unit.status.test_core import aggregate

MUCH_LATER = "2026-01-01T01:00:00Z"


def ready(now: str = NOW, before: PlacementStatus | None = None) -> PlacementStatus:
    return aggregate([state(), state(target=WEST)], decision(EAST, WEST), now, of=placement(before))


def degraded(now: str, before: PlacementStatus) -> PlacementStatus:
    return aggregate([state("Degraded", message="ill"), state()], decision(EAST, WEST), now, of=placement(before))


def of_attempt(target: str, attempt: int) -> TargetReport:
    return msgspec.structs.replace(report(target), head=Head(uid="u1", generation=attempt, attempt=attempt))


def told(status: PlacementStatus, *attempts: int, repeated: bool = False) -> Displayed | None:
    reports = [of_attempt(target, attempt) for target, attempt in zip((EAST, WEST), attempts or (5, 5), strict=True)]
    return displayed(REF, "u1", status, decision(EAST, WEST), reports, MUCH_LATER, repeated=repeated)


def ids(*found: Displayed | None) -> list[str]:
    return [event.id for each in found if each is not None for event in derive(each)]


def test_a_phase_is_told_since_when_it_began() -> None:
    first = ready(NOW)
    again = ready(LATER, first)
    assert (first.phase, first.phase_since) == ("Ready", NOW)
    assert again == first
    worse = degraded(LATER, first)
    assert (worse.phase, worse.phase_since) == ("Degraded", LATER)


def test_of_a_phase_that_began_before_anybody_noted_when_nothing_is_told() -> None:
    unnoted = ready(LATER, msgspec.structs.replace(ready(NOW), phase_since=None))
    assert unnoted.phase_since is None
    assert told(unnoted) is None


def test_the_same_phase_is_the_same_fact_for_whoever_finds_it_on_record() -> None:
    status = ready()
    assert len(set(ids(told(status), told(status, repeated=True)))) == 1


def test_what_comes_back_is_another_fact() -> None:
    first = ready(NOW)
    worse = degraded(LATER, first)
    back = ready(MUCH_LATER, worse)
    assert len(set(ids(told(first), told(worse), told(back)))) == 3


def test_ready_is_told_anew_once_another_attempt_is_applied_in_all_targets() -> None:
    status = ready()
    first, halfway, done = told(status, 4, 4), told(status, 5, 4), told(status, 5, 5)
    assert ids(halfway) == ids(first) != ids(done)
    assert done is not None
    assert (done.head.attempt, done.head.generation, done.became) == (5, 5, NOW)


def test_ready_of_an_attempt_that_was_decided_after_the_phase_began_is_not_older_than_its_decision() -> None:
    since = msgspec.structs.replace(ready(), phase_since="2025-12-31T00:00:00Z")
    found = told(since)
    assert found is not None
    assert (found.since, found.became) == ("2025-12-31T00:00:00Z", MUCH_LATER)


@pytest.mark.parametrize("phase", ["Ready", "Degraded", "Suspended"])
def test_each_told_phase_is_an_event_of_its_own(phase: str) -> None:
    message = Displayed(placement=REF, head=Head(uid="u", generation=1, attempt=1), phase=phase, since=NOW, became=NOW)
    assert [event.data.kind for event in derive(message)] == [phase.lower()]


def test_progress_on_the_way_is_not_told() -> None:
    status = aggregate([state("Progressing"), state(target=WEST)], decision(EAST, WEST), decided=decided(EAST, WEST))
    assert (status.phase, told(status)) == ("Applying", None)
    deleting = aggregate([state()], decision(EAST), of=placement(deleted=True))
    assert told(deleting) is None


def test_why_it_is_degraded_is_told() -> None:
    (event,) = derive(told(degraded(LATER, ready())) or pytest.fail("nothing is told"))
    assert "ill" in event.data.message
    assert (event.data.targets, event.data.degraded) == (2, 1)


def test_a_placement_that_asks_for_no_target_is_ready_in_none() -> None:
    idle = aggregate([], decision(), decided=decided())
    found = displayed(REF, "u1", idle, decision(), [], MUCH_LATER, repeated=False)
    assert found is not None
    (event,) = derive(found)
    assert (event.data.kind, event.data.targets, event.data.attempt) == ("ready", 0, 5)

"""What is counted and timed of messages."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api import PlacementSpec
from shared.broker.bus import BusError, Forbidden, Reject, Retry
from shared.kube.times import rfc3339
from shared.model.decision import Choice, Proposal, Refusal
from shared.model.refs import PlacementRef
from shared.model.request import Cause, HeadEntry, Request
from shared.pipeline.measures import MOST_NAMED, WorkInHand, answering, sent
from shared.pipeline.messages import Decided, Displayed, Requested, Scheduled
from shared.process.metrics import REGISTRY
from tests.support.values import head

REF = PlacementRef(workspace="root:a", namespace="n", name="p")


def request(cause: str = "Created", attempt: int = 1) -> Request:
    return Request(
        placement=REF, head=head(attempt), cause=Cause(code=cause), spec=PlacementSpec(), requested_at=1000.0
    )


def delivery(**values: Any) -> Any:
    return SimpleNamespace(**{"attempt": 1, "sequence": 1, "stored_at": 990.0, **values})


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Grown:
    """By how much a number grows within."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels

    def __enter__(self) -> "Grown":
        self._before = counted(self._name, **self._labels)
        return self

    def __exit__(self, *_: object) -> None:
        self.by = counted(self._name, **self._labels) - self._before


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "ok", ""),
        (Retry(1.0), "retry", "waits"),
        (BusError("away"), "retry", "bus"),
        (Forbidden("no"), "failed", "failed"),
        (Reject("no"), "dead", ""),
        (KeyError("x"), "failed", "failed"),
    ],
)
def test_a_handler_is_counted_by_how_it_ends(error: Exception | None, outcome: str, reason: str) -> None:
    work = WorkInHand(lambda: 1000.0)
    took = Grown("messaging_process_duration_seconds_count", consumer="test-ends", outcome=outcome)
    again = Grown("moorage_retries_total", consumer="test-ends", reason=reason or "waits")

    def end() -> None:
        if error is not None:
            raise error

    expected = pytest.raises(type(error)) if error is not None else nullcontext()
    with took, again, expected, work.handling("test-ends", delivery()):
        end()
    assert took.by == 1
    assert again.by == bool(reason)


def test_a_message_that_waited_is_timed_at_its_first_delivery_alone() -> None:
    work = WorkInHand(lambda: 1000.0)
    with Grown("moorage_queue_seconds_sum", consumer="test-waits") as waited:
        for attempt in (1, 2, 3):
            with work.handling("test-waits", delivery(attempt=attempt)):
                pass
    assert waited.by == 10.0


def test_the_oldest_in_hand_is_shown_while_it_is_in_hand() -> None:
    work = WorkInHand(lambda: 1000.0)
    oldest = work.readings(dict)[0]
    with work.handling("c", delivery(sequence=1)), work.handling("c", delivery(sequence=2, stored_at=999.0)):
        assert oldest.by() == {("c",): 10.0}
    assert oldest.by() == {("c",): 0.0}


def test_the_ten_workspaces_are_named_that_waited_longest_in_the_last_minute() -> None:
    now = [1000.0]
    work = WorkInHand(lambda: now[0])
    longest = work.readings(dict)[1]
    for number in range(50):
        about = PlacementRef(workspace=f"root:{number}", namespace="n", name="p")
        message = Requested(
            request=Request(placement=about, head=head(1), cause=Cause(code="Created"), spec=PlacementSpec())
        )
        work.begun(message, delivery(stored_at=now[0] - number))
    found = longest.by()
    assert len(found) == MOST_NAMED
    assert found["root:49",] == 49.0
    assert ("root:39",) not in found
    now[0] += 61
    assert longest.by() == {}


def scheduled(cause: str = "Created") -> Scheduled:
    return Scheduled(request=request(cause), proposal=Proposal(strategy="Spread"), inventory_revision=1)


@pytest.mark.parametrize(
    ("refusal", "contended", "outcome", "reason"),
    [
        (None, False, "placed", ""),
        (Refusal(code="NoFeasibleTarget", message="none"), False, "refused", "NoFeasibleTarget"),
        (Refusal(code="Contended", message="taken"), True, "contended", "Contended"),
        (Refusal(code="OfAnotherRelease", message="?"), False, "refused", "other"),
    ],
)
def test_decisions_are_counted_by_outcome_and_timed_from_the_request(
    refusal: Refusal | None, contended: bool, outcome: str, reason: str
) -> None:
    decided = Decided(
        placement=REF,
        head=head(1),
        refusal=refusal,
        contended=contended,
        selected=() if refusal else (Choice(target="root:p/a", score=1.0),),
    )
    decisions = Grown("moorage_decisions_total", outcome=outcome, reason=reason)
    took = Grown("moorage_placement_decide_seconds_sum", cause="Created", outcome=outcome)
    with decisions, took:
        WorkInHand(lambda: 1002.5).handled(scheduled(), [decided], None)
    assert (decisions.by, took.by) == (1, 2.5)


@pytest.mark.parametrize(("error", "outcome"), [(None, "ok"), (Reject("no"), "dead"), (KeyError("x"), "failed")])
def test_a_question_is_timed_by_how_its_answer_ends(error: Exception | None, outcome: str) -> None:
    def end() -> None:
        if error is not None:
            raise error

    expected = pytest.raises(type(error)) if error is not None else nullcontext()
    took = Grown("moorage_questions_duration_seconds_count", question="test answer", outcome=outcome)
    with took, expected, answering("test answer"):
        end()
    assert took.by == 1


def test_a_cause_of_another_release_makes_no_series_of_its_own() -> None:
    with Grown("moorage_rounds_total", cause="other") as rounds:
        sent(Requested(request=request("SomethingNew")))
    assert rounds.by == 1


def displayed(phase: str = "Ready", attempt: int = 1, *, repeated: bool = False) -> Displayed:
    at = rfc3339(1010.0)
    return Displayed(placement=REF, head=head(attempt), phase=phase, since=at, became=at, repeated=repeated)


def test_ready_is_timed_once_a_round_and_for_the_newest_alone() -> None:
    work, entry = WorkInHand(lambda: 1011.0), HeadEntry(head=head(2), digest="", requested_at=1000.0)
    told = [displayed("Degraded", 2), displayed("Ready", 1), displayed("Ready", 2, repeated=True)]
    ready = Grown("moorage_placement_ready_seconds_count")
    took = Grown("moorage_placement_ready_seconds_sum")
    with ready, took:
        work.handled(scheduled(), told, entry)
        for _ in range(3):
            work.handled(scheduled(), [displayed("Ready", 2)], entry)
    assert (ready.by, took.by) == (1, 10.0)

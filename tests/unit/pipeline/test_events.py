"""Which facts a message states, and how they are written as events."""

import msgspec
import pytest

from shared.api import PlacementSpec
from shared.cloudevents import CONTENT_TYPE, STRUCTURED, parse
from shared.model.decision import Choice, Refusal
from shared.model.events import EVENTS, MOST_TARGETS, type_of
from shared.model.refs import PlacementRef
from shared.model.request import Cause, CauseCode, Request
from shared.pipeline.events import derive, kinds_of
from shared.pipeline.messages import MESSAGES, Bound, Decided, Observed, Requested
from tests.support.values import head

REF = PlacementRef(workspace="root:a", namespace="n", name="p.1")
SPEC = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)
AT = "2026-11-28T10:00:00.000000Z"
ONE, TWO = "root:a/one", "root:b/two"


def requested(code: CauseCode = "Created", attempt: int = 3, **leaving_since: int) -> Requested:
    request = Request(
        placement=REF,
        head=head(attempt),
        cause=Cause.of(code),
        spec=SPEC,
        leaving_since={f"root/{target}": since for target, since in leaving_since.items()},
        requested_at=1_795_860_000.0,
    )
    return Requested(request=request)


def decided(*targets: str, previous: tuple[str, ...] = (), refusal: Refusal | None = None, contended=False) -> Decided:
    return Decided(
        placement=REF,
        head=head(3),
        selected=tuple(Choice(target=target, score=50.0, replicas=2) for target in targets),
        previous=previous,
        refusal=refusal,
        contended=contended,
        considered=7,
        decided_at=AT,
        cause=Cause.of("TargetLost", "it is gone"),
    )


def bound(phase: str, applied: int = 0, **more) -> Bound:
    return Bound(placement=REF, head=head(3), target=TWO, phase=phase, applied=applied, **more)


def told(message) -> list[str]:
    return [event.data.kind for event in derive(message)]


def test_a_round_is_told_with_its_cause_and_when_it_was_asked_for():
    (event,) = derive(requested("SpecChanged"))
    assert (event.data.kind, event.data.cause, event.at) == ("requested", "SpecChanged", AT)


def test_a_target_that_is_to_be_left_is_told_before_the_round_that_follows():
    lost, round_ = derive(requested("TargetLost", two=3))
    assert (lost.data.kind, lost.data.target.id, round_.data.kind) == ("targetlost", "root/two", "requested")
    assert not lost.repeated


def test_a_target_that_is_to_be_left_is_one_fact_over_all_rounds_that_find_no_other():
    (first, _), (again, _) = derive(requested("TargetLost", two=3)), derive(requested("Waiting", 4, two=3))
    assert (again.id, again.data.attempt, again.repeated) == (first.id, 3, True)
    anew, _ = derive(requested("TargetLost", 9, two=9))
    assert anew.id != first.id


def test_a_decision_is_told_with_its_targets():
    (event,) = derive(decided(ONE, TWO))
    assert event.data.kind == "decided"
    assert [(each.target.id, each.replicas) for each in event.data.targets] == [(ONE, 2), (TWO, 2)]
    assert (event.data.selected, event.data.considered, event.at) == (2, 7, AT)


def test_a_decision_names_no_more_targets_than_an_event_may():
    (event,) = derive(decided(*(f"root/{number}" for number in range(MOST_TARGETS + 5))))
    assert (len(event.data.targets), event.data.selected) == (MOST_TARGETS, MOST_TARGETS + 5)


def test_a_decision_that_leaves_a_target_is_a_move():
    _, moved = derive(decided(TWO, previous=(ONE,)))
    assert [each.id for each in moved.data.from_] == [ONE]
    assert [each.id for each in moved.data.to] == [TWO]
    assert (moved.data.cause, moved.data.detail) == ("TargetLost", "it is gone")


def test_more_targets_than_before_are_no_move():
    assert told(decided(ONE, TWO, previous=(ONE,))) == ["decided"]


def test_a_refusal_is_told_and_a_lost_race_is_not():
    refusal = Refusal(code="NoTargets", message="None fits.", stage="scheduler")
    (event,) = derive(decided(refusal=refusal, previous=(ONE,)))
    assert (event.data.kind, event.data.code, event.data.message) == ("refused", "NoTargets", "None fits.")
    assert [each.id for each in event.data.targets] == [ONE]
    assert told(decided(refusal=refusal, contended=True)) == []


@pytest.mark.parametrize(
    ("phase", "applied", "kinds"),
    [
        ("Applied", 3, ["bound"]),
        ("Ready", 3, ["bound"]),
        ("Applying", 0, []),
        ("Failed", 0, ["failed"]),
        ("Removing", 0, []),
        ("Removed", 0, []),
    ],
)
def test_what_binding_tells_is_told_where_it_is_done_or_failed(phase: str, applied: int, kinds: list[str]):
    assert told(bound(phase, applied)) == kinds


def test_the_same_fact_has_the_same_id_whatever_message_states_it():
    (first,), (again,) = derive(bound("Applied", 3, version="1")), derive(bound("Ready", 3, version="2", since=AT))
    assert first.id == again.id


def test_a_removal_is_one_fact_per_stay_whichever_attempt_asks_for_it():
    first, again = (derive(msgspec.structs.replace(bound("Removed", held=2), head=head(at)))[0] for at in (3, 4))
    (other,) = derive(bound("Removed", held=3))
    assert first.id == again.id != other.id
    assert (first.data.kind, first.data.attempt) == ("removed", 2)


def test_a_failure_is_another_fact_once_its_reason_or_its_beginning_is_another():
    failures = [("NotOurs", AT), ("NotOurs", AT), ("Invalid", AT), ("NotOurs", "2026-11-28T11:00:00Z")]
    ids = [derive(bound("Failed", reason=reason, since=since))[0].id for reason, since in failures]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_a_decision_that_lost_some_of_its_targets_is_another_fact():
    (first,), (again,), (fewer,) = derive(decided(ONE, TWO)), derive(decided(TWO, ONE)), derive(decided(ONE))
    assert first.id == again.id != fewer.id


def test_other_messages_state_nothing():
    assert derive(Observed(placement=REF, head=head(), target=ONE, revision=1)) == ()
    assert kinds_of(Observed) == ()


def test_no_two_facts_of_a_message_have_one_id():
    for message in (requested("TargetLost", one=3, two=3), decided(TWO, previous=(ONE,))):
        ids = [event.id for event in derive(message)]
        assert len(ids) == len(set(ids))


def test_what_is_derived_is_what_is_declared():
    messages = [
        requested("TargetLost", one=3),
        decided(TWO, previous=(ONE,)),
        bound("Failed"),
        bound("Removed", held=1),
    ]
    for message in messages:
        assert {type(event.data) for event in derive(message)} <= set(kinds_of(type(message)))
    declared = {kind for message in MESSAGES for kind in kinds_of(message)}
    assert declared <= set(EVENTS)


def test_it_is_written_as_a_cloudevent_that_needs_no_headers():
    (event,) = derive(decided(ONE))
    trace = f"00-{'a' * 32}-{'b' * 16}-00"
    found = parse(event.encoded({"traceparent": trace, "Nats-Msg-Id": "x"}), {CONTENT_TYPE: STRUCTURED})
    assert event.subject == "moorage.events.root=3Aa.n.p=2E1.decided"
    assert (found.id, found.source, found.type) == (event.id, "/moorage", type_of("decided"))
    assert (found.subject, found.time) == ("root:a/n/p.1", AT)
    assert found.extensions == {"traceparent": trace, "sequence": "0000000003"}
    assert msgspec.json.decode(found.data)["placement"] == {"workspace": "root:a", "namespace": "n", "name": "p.1"}


def test_sequences_are_in_order_as_text():
    early, late = (msgspec.structs.replace(bound("Applied"), applied=number) for number in (9, 10))
    first, second = (
        parse(derive(each)[0].encoded({}), {CONTENT_TYPE: STRUCTURED}).extensions["sequence"] for each in (early, late)
    )
    assert first < second

"""What is recorded, and whom decision tells what."""

from collections import Counter

import msgspec
import pytest

from services.decision import assigning, core
from shared.api import PlacementDecisionStatus, PlacementSpec
from shared.model.decision import Choice, Proposal, Refusal, Rejection, Reservation, Score
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, PreviousChoice, Request
from shared.pipeline.events import derive
from shared.pipeline.messages import Scheduled

HEAD = Head(uid="u", generation=1, attempt=2)
REF = PlacementRef(workspace="root:team", namespace="apps", name="web")


def choice(name: str, score: float = 50.0) -> Choice:
    part = Score(raw=score, weight=100, weighted=score)
    return Choice(target=f"root:p/{name}", score=score, breakdown={"Resource": part}, reserve={"cpu": 1.0})


def spec(**fields) -> PlacementSpec:
    return msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}], **fields}, PlacementSpec)


def scheduled(selected=(), alternates=(), *, attempt: int = 1, refusal: Refusal | None = None, **fields) -> Scheduled:
    request = Request(
        placement=REF,
        head=Head(uid="u", generation=3, attempt=attempt),
        cause=Cause(code="Created"),
        spec=spec(**fields),
        requested_at=100.0,
    )
    proposal = Proposal(
        strategy="BestFit", selected=tuple(selected), alternates=tuple(alternates), feasible=3, refusal=refusal
    )
    rejections = (
        Rejection(reason="NotAuthorized", message="not authorized", targets=(), unnamed=2, stage="discovery"),
        Rejection(reason="Lost", message="lost", targets=("root:p/y",), stage="scheduler"),
    )
    return Scheduled(request=request, proposal=proposal, rejections=rejections, inventory_revision=7)


def names(status: PlacementDecisionStatus) -> list[str]:
    return [each.target.name for each in status.selected]


def test_what_policies_warn_of_is_told_of_the_targets_that_are_taken():
    warned = {"root:p/a": ("spot may go",), "root:p/c": ("no",)}
    message = msgspec.structs.replace(scheduled([choice("a", 90)], [choice("c", 80)]), warnings=warned)
    refused = Refusal(code="NoFeasibleTarget", message="0/6 targets: 6 full")
    assert core.decided(message, [choice("a", 90)], None, "").warning == "Policies warn of a (spot may go)."
    assert core.decided(message, [choice("b", 90)], None, "").warning == ""
    assert core.decided(message, [], refused, "").warning == ""


def test_the_record_holds_what_was_taken_with_its_breakdown_and_why_not_the_others():
    status = core.record(scheduled([choice("a", 90)], [choice("b", 80)]), [choice("a", 90)], None, None, now=100.25)
    assert names(status) == ["a"]
    assert status.selected[0].breakdown["Resource"].raw == 90
    assert status.selected[0].reserved == {"cpu": 1.0}
    assert [each.target.name for each in status.alternates] == ["b"]
    assert {reason: (each.count, each.samples) for reason, each in status.rejected.items()} == {
        "NotAuthorized": (2, ()),
        "Lost": (1, ("root:p/y",)),
    }
    assert status.rationale == "BestFit chose a (90.0) out of 3 feasible of 6 targets"
    assert status.duration_milliseconds == 250.0
    assert (status.attempt, status.observed_generation, status.inventory_revision) == (1, 3, 7)


def test_a_proposed_target_that_filled_up_is_listed_as_an_alternate_and_the_rationale_says_so():
    proposed = scheduled([choice("a"), choice("b")], [choice("c")])
    status = core.record(proposed, [choice("a"), choice("c")], None, None, 1.0)
    assert names(status) == ["a", "c"]
    assert [each.target.name for each in status.alternates] == ["b"]
    assert status.rationale.endswith("; 1 in place of targets that filled up meanwhile")


def test_on_a_refusal_what_ran_before_stays():
    before = core.record(scheduled([choice("a")]), [choice("a")], None, None, 1.0)
    refusal = Refusal(code="NoFeasibleTarget", message="0/6 targets: 6 full")
    after = core.record(scheduled(attempt=2, refusal=refusal), [], refusal, before, 2.0)
    assert names(after) == ["a"]
    assert after.rationale == "0/6 targets: 6 full"
    assert after.attempt == 2


def test_history_holds_the_last_ten_changes_newest_first_and_nothing_else():
    status = None
    for number in range(12):
        status = core.record(scheduled(attempt=number + 1), [choice(f"t{number}")], None, status, float(number))
    again = core.record(scheduled(attempt=13), [choice("t11")], None, status, 13.0)
    assert len(again.history) == 10
    assert again.history == status.history
    assert [ref.name for ref in status.history[0].from_] == ["t10"]
    assert [ref.name for ref in status.history[0].to] == ["t11"]
    assert status.history[0].why == "Created"


def test_binding_is_told_to_apply_everywhere_selected_and_to_remove_elsewhere_after_the_new_ones_are_ready():
    status = core.record(scheduled(), [choice("a"), choice("b")], None, None, 1.0)
    told = assigning.assignments(REF, HEAD, status.selected, {"root:p/a", "root:p/old"}, ())
    assert [(each.target, each.remove, each.after) for each in told] == [
        ("root:p/a", False, ()),
        ("root:p/b", False, ()),
        ("root:p/old", True, ("root:p/a", "root:p/b")),
    ]


def test_leaving_a_lost_target_waits_for_nothing():
    status = core.record(scheduled(), [choice("b")], None, None, 1.0)
    told = assigning.assignments(REF, HEAD, status.selected, {"root:p/old"}, {"root:p/old"})
    assert told[-1].remove
    assert told[-1].after == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"strategy": {"type": "Binpack"}}, True),
        ({"strategy": {"type": "Spread"}}, False),
        ({"replicas": {"division": "Weighted"}}, False),
        ({"spread": [{"topologyKey": "zone"}]}, False),
        ({"spread": [{"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}, True),
    ],
)
def test_alternates_take_a_lost_place_only_where_that_changes_nothing_else(fields, expected):
    assert core.substitutable(spec(**fields)) is expected
    assert not core.substitutable(spec(**fields), [choice("a"), msgspec.structs.replace(choice("b"), forced=True)])


def test_what_is_forced_is_eligible_whatever_it_scores():
    forced = msgspec.structs.replace(choice("b", 1), forced=True)
    assert core.eligible([choice("a", 10), forced], 50) == [forced]


def test_fewer_than_proposed_will_do_while_the_least_count_is_met():
    wanted = spec(targets={"count": {"min": 1, "max": 3}})
    three = Proposal(strategy="BestFit", selected=tuple(map(choice, "abc")), feasible=3)
    assert core.enough([choice("a")], three, wanted)
    assert not core.enough([], three, wanted)
    divided = spec(targets={"count": {"min": 1, "max": 3}}, replicas={"division": "Dynamic"})
    assert not core.enough([choice("a")], three, divided)


def test_choices_below_the_minimum_score_are_not_eligible():
    assert core.eligible([choice("a", 60), choice("b", 40)], 50) == [choice("a", 60)]
    refusal = core.below_minimum(scheduled([choice("b", 40)], strategy={"minimumScore": 50}))
    assert refusal == Refusal(
        code="BelowMinimumScore", message="the best of 1 targets scores 40.0, below 50", stage="decision"
    )


def test_a_withdrawal_removes_from_every_target():
    told = assigning.withdrawal(REF, Head(uid="u", generation=1, attempt=9), {"root:p/b", "root:p/a"}, orphan=True)
    assert [(each.target, each.remove, each.orphan) for each in told] == [
        ("root:p/a", True, True),
        ("root:p/b", True, True),
    ]


def test_very_many_targets_are_dealt_out_in_blocks_and_some_stay_together():
    head, some = Head(uid="u", generation=1, attempt=9), {f"root:p/{each:03}" for each in range(3 * assigning.BLOCK)}
    told = assigning.withdrawal(REF, head, some, orphan=False)
    assert Counter(each.block for each in told) == dict.fromkeys(range(3), assigning.BLOCK)
    few = assigning.assignments(REF, head, (), sorted(some)[: assigning.BLOCK], ())
    assert {each.block for each in few} == {0}


def test_news_of_contention_say_that_another_attempt_is_worth_it():
    message = scheduled([choice("a")])
    assert core.decided(message, (), core.contended(message), "t").contended
    assert not core.decided(message, (), Refusal(code="NoFeasibleTarget", message="none"), "t").contended


@pytest.mark.parametrize(
    ("previous", "leaving", "expected"),
    [(("root:p/a",), (), True), (("root:p/a",), ("root:p/a",), False), (("root:p/b",), (), False)],
)
def test_a_placement_may_stay_where_it_is_until_it_has_to_leave(previous, leaving, expected):
    request = msgspec.structs.replace(
        scheduled().request, previous=tuple(PreviousChoice(target=each) for each in previous), leaving=leaving
    )
    assert core.may_stay("root:p/a", request) is expected


def test_a_refusal_tells_binding_only_of_selected_targets_that_it_never_heard_of():
    status = core.record(scheduled(), [choice("a"), choice("b")], None, None, 1.0)
    told = assigning.overlooked(REF, HEAD, status.selected, {"root:p/a", "root:p/old"})
    assert [(each.target, each.remove) for each in told] == [("root:p/b", False)]


def test_until_a_decision_is_written_nothing_that_runs_loses_its_place():
    assert core.at_least({"cpu": 6.0, "pods": 1.0}, {"cpu": 10.0}) == {"cpu": 10.0, "pods": 1.0}
    assert core.at_least({"cpu": 6.0}, {}) == {"cpu": 6.0}


def test_a_delivery_that_comes_again_says_what_the_first_one_wrote():
    message = scheduled([choice("a")], [choice("b")])
    status = core.record(message, [choice("b")], None, None, 1.0)
    assert core.redelivered(message, status) == ([choice("b")], None)
    none = Refusal(code="NoFeasibleTarget", message="0/6 targets: 6 full", stage="policy")
    status = core.record(scheduled(refusal=none), [], none, None, 1.0)
    again = scheduled(refusal=msgspec.structs.replace(none, message="0/6 targets: 6 not ready"))
    assert core.redelivered(again, status) == ([], none)


def test_a_refusal_leaves_the_digest_of_what_runs() -> None:
    """Else binding took what was refused for what was decided."""
    asked = scheduled((choice("a"),))
    asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, input_digest="old"))
    decided = core.record(asked, [choice("a")], None, None, 1.0)
    grown = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, input_digest="new"))
    refused = core.record(grown, [], Refusal(code="Contended", message="no"), decided, 2.0)
    assert (decided.input_digest, refused.input_digest) == ("old", "old")
    assert core.record(grown, [choice("a")], None, refused, 3.0).input_digest == "new"


def test_binding_is_told_the_digest_and_the_overrides_that_were_decided() -> None:
    overridden = msgspec.structs.replace(choice("a"), overrides=(0, 2))
    decided = core.record(scheduled((overridden,)), [overridden], None, None, 1.0)
    (told,) = assigning.assignments(REF, HEAD, decided.selected, (), (), "d")
    assert (told.overrides, told.digest) == ((0, 2), "d")
    (again,) = assigning.overlooked(REF, HEAD, decided.selected, (), "d")
    assert again == told


def test_binding_is_told_what_is_reserved_where_it_applies_and_what_that_shrinks_to() -> None:
    status = core.record(scheduled([choice("a"), choice("b")]), [choice("a"), choice("b")], None, None, now=0)
    told = assigning.assignments(REF, HEAD, status.selected, {"root:p/gone"}, ())
    held = {"root:p/a": Reservation(placement=REF, head=HEAD, resources={"cpu": 3.0}, shrinks_to={"cpu": 1.0})}
    found = {each.target: each for each in assigning.with_reservations(told, status.selected, held)}
    assert (found["root:p/a"].reserved, found["root:p/a"].shrinks_to) == ({"cpu": 3.0}, {"cpu": 1.0})
    assert (found["root:p/b"].reserved, found["root:p/b"].shrinks_to) == ({"cpu": 1.0}, None)
    assert not found["root:p/gone"].reserved


@pytest.mark.parametrize(
    ("taken", "refusal"),
    [
        ([choice("a", 90), choice("b")], None),
        ([choice("b")], None),
        ([], Refusal(code="NoFeasibleTarget", message="none fits")),
        ([], Refusal(code="Contended", message="others were faster")),
    ],
)
def test_what_is_on_record_tells_the_same_facts_as_who_decided_it_would_have(taken, refusal):
    before = core.record(scheduled([choice("a")]), [choice("a")], None, None, 1.0)
    message = scheduled(taken, attempt=2, refusal=refusal)
    status = core.record(message, taken, refusal, before, 2.0)
    told = derive(core.decided(message, taken, refusal, "", status))
    again = derive(core.overwritten(REF, "u", status))
    assert [each.id for each in again] == [each.id for each in told]
    assert [each.subject for each in again] == [each.subject for each in told]
    assert [(each.at, each.data) for each in again] == [(each.at, each.data) for each in told]
    assert all(each.repeated for each in again)


def test_what_an_earlier_release_recorded_is_not_told_since_nobody_knows_what_it_was():
    status = core.record(scheduled([choice("a")]), [choice("a")], None, None, 1.0)
    assert core.overwritten(REF, "u", msgspec.structs.replace(status, considered=0)) is None

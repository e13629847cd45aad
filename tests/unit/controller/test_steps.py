"""The next step of a placement, for all that may be known of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.core.brake import Braked
from services.controller.core.digest import SUSPENDED, UNFOLLOWED
from services.controller.core.eviction import Sighting
from services.controller.core.observation import KnownDecision, Observation
from services.controller.core.rebalance import asked
from services.controller.core.steps import (
    Hold,
    LetGo,
    Nothing,
    Place,
    Suspend,
    Wait,
    Withdraw,
    acts,
    is_live,
    next_step,
)
from services.controller.settings import ControllerSettings
from shared.api import Placement, Taint, decode_placement
from shared.hub.names import PLACED_FINALIZER, REBALANCE_ANNOTATION
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, HeadEntry, PreviousChoice, Waiting
from shared.model.target import Target

NOW = 100_000.0
SETTINGS = ControllerSettings()
OVERDUE = NOW - SETTINGS.resync_seconds
LONG_AGO = NOW - 1.5 * SETTINGS.in_place_seconds  # whatever a placement is called
REF = PlacementRef(workspace="root:a", namespace="shop", name="web")
T, U = "root:p/t", "root:p/u"
THERE = Sighting(target=Target(workspace="root:p", name="t", ready=True))
LOST = Sighting(target=Target(workspace="root:p", name="t", lost_since=1.0))
TAINT = Taint(key="maintenance", effect="NoExecute")
WHY = Braked(scope="region east", lost=5, total=6)
HELD_BACK = msgspec.structs.replace(LOST, braked=WHY)
GONE = Sighting(missing_since=1.0)
ON_T = KnownDecision(attempt=3, selected=(PreviousChoice(target=T),))
ROUND_UNDER_WAY = Wait("a round is under way")
REMOVAL_UNDER_WAY = Wait("its removal is under way")


def placement(
    *, deleting: bool = False, held: bool = True, phase: str = "Ready", generation: int = 1, asks: str = "", **spec: Any
) -> Placement:
    metadata: dict[str, Any] = {"name": "web", "namespace": "shop", "uid": "u", "generation": generation}
    if asks:
        metadata["annotations"] = {REBALANCE_ANNOTATION: asks}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if held:
        metadata["finalizers"] = [PLACED_FINALIZER]
    targets = [{"workspace": "root:p", "name": "t", "phase": "Ready"}]
    return decode_placement({"metadata": metadata, "spec": spec, "status": {"phase": phase, "targets": targets}})


def entry(attempt: int = 3, digest: str = "a.b.c", *, uid: str = "u", at: float = NOW, **fields: Any) -> HeadEntry:
    head = Head(uid=uid, generation=fields.pop("generation", 1), attempt=attempt)
    return HeadEntry(head=head, digest=digest, requested_at=at, **fields)


def waiting(attempt: int = 3, *, next_try: float = NOW + 60, tried_at: float = NOW - 50) -> Waiting:
    head = entry(attempt).head
    return Waiting(placement=REF, head=head, since=1.0, tries=2, tried_at=tried_at, next_try=next_try)


def observed(**fields: Any) -> Observation:
    """A placement that is decided, in place in T and left alone, but for `fields`."""
    usual = {
        "placement": placement(),
        "entry": entry(),
        "digest": "a.b.c",
        "decision": ON_T,
        "attempts": {T: 3},
        "targets": {T: THERE},
        "now": NOW,
        "settings": SETTINGS,
    }
    return Observation(**{**usual, **fields})


def step(**fields: Any) -> Any:
    return next_step(observed(**fields))


UNDECIDED: dict[str, Any] = {"decision": None, "attempts": {}, "targets": {}}


@pytest.mark.parametrize(
    ("known", "code", "detail"),
    [
        ({"entry": None}, "Created", ""),
        ({"entry": entry(uid="another")}, "Created", ""),
        ({"entry": entry(deleted=True)}, "Created", ""),
        ({"digest": "x.b.c"}, "SpecChanged", ""),
        ({"digest": "a.x.c"}, "WorkloadChanged", ""),
        ({"digest": "a.b.x"}, "PolicyChanged", ""),
        ({"placement": placement(generation=2)}, "SpecChanged", ""),
        ({"placement": placement(generation=2), "digest": None}, "SpecChanged", ""),
        ({"entry": entry(digest=SUSPENDED)}, "SpecChanged", ""),
        ({"entry": entry(digest=SUSPENDED), "digest": None}, "SpecChanged", ""),
        ({"entry": entry(digest=UNFOLLOWED)}, "Resync", "its workspace is back"),
        ({"entry": entry(digest=UNFOLLOWED), "digest": None}, "Resync", "its workspace is back"),
        ({**UNDECIDED, "waiting": waiting(next_try=NOW)}, "Waiting", "attempt 3"),
        ({**UNDECIDED, "waiting": waiting(), "world_changed_at": NOW - 49}, "Waiting", "attempt 3"),
        ({"entry": entry(4, at=OVERDUE)}, "Resync", "no answer to the last request"),
        ({"entry": entry(2, at=OVERDUE)}, "Resync", "no answer to the last request"),
        ({**UNDECIDED, "entry": entry(at=OVERDUE)}, "Resync", "no answer to the last request"),
        ({"targets": {T: LOST}}, "TargetLost", T),
        ({"targets": {T: GONE}}, "TargetLost", T),
        ({"targets": {T: LOST}, "entry": entry(leaving=(U,))}, "TargetLost", T),
        ({"targets": {T: LOST}, "entry": entry(leaving=(T,), at=OVERDUE)}, "TargetLost", T),
        (
            {"entry": entry(at=OVERDUE), "attempts": {T: 3, U: 2}, "targets": {T: THERE, U: THERE}},
            "Resync",
            f"left over in {U}",
        ),
        ({"entry": entry(at=LONG_AGO), "attempts": {T: 2}}, "Resync", "not in place for long"),
        ({"entry": entry(at=LONG_AGO), "placement": placement(phase="Scheduling")}, "Resync", "not in place for long"),
        (
            {
                "placement": placement(stability={"rebalance": {"type": "WhenBetter"}}),
                "entry": entry(at=NOW - 60),
                "world_changed_at": NOW - 1,
            },
            "Rebalance",
            "",
        ),
    ],
)
def test_a_placement_is_placed_anew_for_a_cause(known, code, detail) -> None:
    found = step(**known)
    assert isinstance(found, Place)
    assert (found.cause.code, found.cause.detail) == (code, detail)


@pytest.mark.parametrize("known", [{}, {"digest": "x.b.c"}, {"entry": entry(2, at=OVERDUE)}, {"entry": None}])
def test_whatever_the_cause_a_round_says_which_targets_are_to_be_left(known) -> None:
    both = KnownDecision(attempt=3, selected=(PreviousChoice(target=T), PreviousChoice(target=U)))
    found = step(decision=both, targets={T: LOST, U: THERE}, **known)
    assert found.leaving == (T,)


def test_what_was_refused_and_is_not_known_to_wait_any_more_is_tried_again() -> None:
    refused = {"placement": placement(phase="Unschedulable"), "decision": KnownDecision(attempt=3), "attempts": {}}
    forgotten = Cause.of("Resync", "it was refused, and nobody has it try again")
    assert step(**refused, entry=entry(at=OVERDUE)) == Place(cause=forgotten)
    assert step(**refused, entry=entry(at=OVERDUE), waiting=waiting()) == Wait("it waits for its next try")
    assert step(**refused) == Nothing()


def test_a_loss_comes_before_an_improvement() -> None:
    moving = placement(stability={"rebalance": {"type": "WhenBetter"}})
    found = step(placement=moving, entry=entry(at=NOW - 60), world_changed_at=NOW - 1, targets={T: LOST})
    assert found.cause.code == "TargetLost"


def test_what_is_not_in_place_is_asked_for_again_before_it_is_improved_and_counted() -> None:
    moving = placement(stability={"rebalance": {"type": "WhenBetter"}})
    found = step(placement=moving, entry=entry(at=NOW - 1e5, in_vain=2), attempts={}, world_changed_at=NOW - 1)
    assert (found.cause.detail, found.in_vain) == ("not in place for long", 3)


@pytest.mark.parametrize("known", [{"digest": "x.b.c"}, {"targets": {T: LOST}}])
def test_any_other_round_is_the_first_that_may_be_in_vain(known) -> None:
    assert step(entry=entry(in_vain=2), **known).in_vain == 0


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"entry": None}, Withdraw()),
        ({"entry": None, **UNDECIDED}, Withdraw(let_go=True)),
        ({"entry": entry(uid="another", deleted=True)}, Withdraw()),
        ({}, Withdraw()),
        (UNDECIDED, Withdraw(let_go=True)),
        ({"entry": entry(deleted=True)}, REMOVAL_UNDER_WAY),
        ({"entry": entry(deleted=True, at=OVERDUE)}, Withdraw()),
        ({"entry": entry(deleted=True), "decision": None}, REMOVAL_UNDER_WAY),
        ({"entry": entry(deleted=True), "attempts": {}}, REMOVAL_UNDER_WAY),
        ({"entry": entry(deleted=True), **UNDECIDED}, LetGo()),
        ({"entry": entry(deleted=True, at=OVERDUE), **UNDECIDED}, LetGo()),
    ],
)
def test_a_placement_that_is_deleted_is_withdrawn_and_let_go_when_nothing_is_left(known, expected) -> None:
    assert step(placement=placement(deleting=True), **known) == expected
    suspended = placement(deleting=True, suspend=True)
    assert step(placement=suspended, **known) == expected


def test_a_placement_that_is_deleted_leaves_its_objects_where_it_says_so() -> None:
    assert step(placement=placement(deleting=True, deletionPolicy="Orphan")) == Withdraw(orphan=True)


@pytest.mark.parametrize("known", [{}, {"entry": None}, {"entry": entry(at=OVERDUE)}])
def test_a_placement_that_is_deleted_and_was_never_held_needs_nothing(known) -> None:
    assert step(placement=placement(deleting=True, held=False), **known) == Nothing()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"entry": None}, Nothing()),
        ({}, Withdraw(unproven=True)),
        (UNDECIDED, Withdraw(unproven=True)),
        ({"entry": entry(deleted=True)}, REMOVAL_UNDER_WAY),
        ({"entry": entry(deleted=True, at=OVERDUE)}, Withdraw(unproven=True)),
        ({"entry": entry(deleted=True, at=OVERDUE), **UNDECIDED}, Nothing()),
    ],
)
def test_a_placement_that_is_not_there_is_withdrawn_once_that_is_proven(known, expected) -> None:
    assert step(placement=None, digest=None, **known) == expected


@pytest.mark.parametrize(
    ("known", "phase", "expected"),
    [
        ({"entry": None}, "Ready", Suspend()),
        ({}, "Ready", Suspend()),
        ({"entry": entry(uid="another", digest=SUSPENDED)}, "Suspended", Suspend()),
        ({"entry": entry(digest=SUSPENDED)}, "Ready", Wait("its status is being written")),
        ({"entry": entry(digest=SUSPENDED, at=OVERDUE)}, "Ready", Suspend()),
        ({"entry": entry(digest=SUSPENDED, at=OVERDUE)}, "Suspended", Nothing()),
        ({"entry": entry(digest=SUSPENDED, at=OVERDUE), "targets": {T: LOST}}, "Suspended", Nothing()),
        ({"entry": entry(digest=SUSPENDED, at=LONG_AGO), "attempts": {}}, "Suspended", Nothing()),
    ],
)
def test_a_suspended_placement_says_so_until_its_status_does_and_nothing_else_is_done(known, phase, expected) -> None:
    assert step(placement=placement(suspend=True, phase=phase), digest=None, **known) == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"entry": entry(4)}, ROUND_UNDER_WAY),
        ({"entry": entry(4), "targets": {T: LOST}}, ROUND_UNDER_WAY),
        (UNDECIDED, ROUND_UNDER_WAY),
        ({**UNDECIDED, "entry": entry(4), "waiting": waiting(next_try=NOW)}, ROUND_UNDER_WAY),
        ({**UNDECIDED, "waiting": waiting()}, Wait("it waits for its next try")),
        ({**UNDECIDED, "waiting": waiting(), "entry": entry(at=OVERDUE)}, Wait("it waits for its next try")),
        ({"waiting": waiting(), "targets": {T: LOST}}, Wait("it waits for its next try")),
    ],
)
def test_a_placement_that_somebody_works_on_or_whose_time_has_not_come_is_waited_for(known, expected) -> None:
    assert step(**known) == expected


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"entry": entry(at=OVERDUE)},
        {"entry": entry(at=LONG_AGO)},
        {"entry": entry(leaving=(T,)), "targets": {T: LOST}},
        {"attempts": {T: 3, U: 2}, "targets": {T: THERE, U: THERE}},
        {"entry": entry(at=OVERDUE), "attempts": {T: 3, U: 2}, "targets": {T: THERE, U: LOST}},
        {"entry": entry(at=OVERDUE), "attempts": {T: 3, U: 2}, "targets": {T: THERE, U: GONE}},
        {"attempts": {T: 2}},
        {"world_changed_at": NOW},
        {"waiting": waiting(2, next_try=NOW)},
        {"digest": None},
    ],
)
def test_nothing_is_done_about_a_placement_that_is_as_it_should_be(known) -> None:
    assert step(**known) == Nothing()


def test_a_placement_is_live_unless_it_is_on_its_way_out_or_suspended() -> None:
    assert is_live(placement())
    assert not any(map(is_live, [None, placement(deleting=True), placement(suspend=True)]))


DIGESTS = st.sampled_from(["a.b.c", "a.b.x", SUSPENDED, UNFOLLOWED])
TIMES = st.sampled_from([NOW, OVERDUE, LONG_AGO, NOW - 1e5])
HEADS = st.builds(
    entry,
    st.integers(2, 4),
    DIGESTS,
    uid=st.sampled_from(["u", "another"]),
    at=TIMES,
    generation=st.integers(1, 2),
    deleted=st.booleans(),
    leaving=st.sampled_from([(), (T,)]),
    in_vain=st.integers(0, 5),
)
PLACEMENTS = st.builds(
    placement,
    deleting=st.booleans(),
    held=st.booleans(),
    phase=st.sampled_from(["Ready", "Scheduling", "Suspended"]),
    generation=st.integers(1, 2),
    suspend=st.booleans(),
    asks=st.sampled_from(["", "now"]),
    stability=st.sampled_from(
        [{}, {"rebalance": {"type": "WhenBetter"}}, {"evictionTolerationSeconds": 10}, {"disruptionBudget": 1}]
    ),
)
SIGHTINGS = st.sampled_from([THERE, LOST, GONE])
OBSERVATIONS = st.builds(
    observed,
    placement=st.none() | PLACEMENTS,
    entry=st.none() | HEADS,
    digest=st.sampled_from(["a.b.c", "a.b.x"]),
    decision=st.none() | st.just(ON_T),
    waiting=st.none() | st.builds(waiting, st.integers(2, 4), next_try=st.sampled_from([NOW, NOW + 60])),
    attempts=st.dictionaries(st.sampled_from([T, U]), st.integers(2, 3)),
    targets=st.fixed_dictionaries({T: SIGHTINGS, U: SIGHTINGS}),
    world_changed_at=st.sampled_from([0.0, NOW - 1]),
)


@given(OBSERVATIONS)
def test_a_sweep_which_knows_no_digest_comes_to_the_same_step_unless_the_input_changed(seen: Observation) -> None:
    swept, looked_at = next_step(msgspec.structs.replace(seen, digest=None)), next_step(seen)
    if acts(swept):
        assert acts(looked_at)
    if seen.entry is None or not is_live(seen.placement) or seen.digest == seen.entry.digest:
        assert swept == looked_at


@given(OBSERVATIONS)
def test_a_step_is_not_taken_twice(seen: Observation) -> None:
    """Once the head says what was said, the same observation asks for no more, but for what is due by itself."""
    taken = next_step(seen)
    if not acts(taken) or isinstance(taken, LetGo):
        return
    metadata = seen.placement.metadata if seen.placement is not None else None
    known = Head(uid="u", generation=1, attempt=2) if seen.entry is None else seen.entry.head
    said = HeadEntry(
        head=Head(
            uid=metadata.uid if metadata else known.uid,
            generation=metadata.generation if metadata else known.generation,
            attempt=5,
        ),
        digest={Place: seen.digest, Suspend: SUSPENDED}.get(type(taken), "") or "",
        requested_at=NOW,
        deleted=isinstance(taken, Withdraw),
        rebalance=asked(seen.placement) if seen.placement is not None else "",
        rebalance_since=5,
    )
    again = next_step(msgspec.structs.replace(seen, entry=said))
    assert isinstance(again, Wait | Nothing | LetGo)


STAYS = (
    f"It stays on {T}, which is lost: most targets of region east were lost at once,"
    " as if our own network had failed, so that nothing moves."
)


def test_when_most_targets_are_lost_at_once_it_stays_and_its_status_is_to_say_why() -> None:
    assert step(targets={T: HELD_BACK}) == Hold(STAYS, "TooManyLost")
    assert step(targets={T: HELD_BACK}, entry=entry(held=STAYS)) == Nothing()
    assert step(targets={T: THERE}, entry=entry(held=STAYS)) == Hold("")


def test_what_is_held_does_not_move_to_better_targets_either() -> None:
    wants = placement(stability={"rebalance": {"type": "WhenBetter"}})
    seen = {"placement": wants, "entry": entry(at=NOW - 60, held=STAYS), "world_changed_at": NOW - 1}
    assert isinstance(step(**seen, targets={T: HELD_BACK}), Nothing)


def test_a_change_of_what_is_held_does_not_make_it_leave() -> None:
    found = step(targets={T: HELD_BACK}, digest="x.b.c")
    assert (found.cause.code, found.leaving) == ("SpecChanged", ())


@pytest.mark.parametrize("target", [LOST, GONE, msgspec.structs.replace(THERE, expelling={TAINT: 1.0})])
def test_when_enough_placements_moved_it_waits_for_its_turn(target: Sighting) -> None:
    assert step(targets={T: target}, may_move=False) == Wait("moves are limited")
    assert step(targets={T: target}).cause.code == "TargetLost"


def test_somebodys_will_is_not_held_back() -> None:
    tainted = msgspec.structs.replace(HELD_BACK, expelling={TAINT: 1.0})
    assert step(targets={T: tainted}).leaving == (T,)
    assert step(targets={T: GONE}).leaving == (T,)

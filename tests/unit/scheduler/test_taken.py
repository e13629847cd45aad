"""What is proposed counts once, until it is seen to be reserved, or a bound passes; for any order of events."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.scheduler.exact import exact, rounded
from services.scheduler.taken import Taken
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from tests.unit.scheduler.builders import placement

SECONDS = 10.0
TARGETS, PLACEMENTS = ("root/a", "root/b", "root/c"), tuple(placement(name) for name in ("p", "q"))
Place = tuple[str, PlacementRef]


def head(attempt: int) -> Head:
    return Head(uid="u", generation=1, attempt=attempt)


def taking(who: PlacementRef, attempt: int, cpu: float, **labels: str) -> Reservation:
    return Reservation(placement=who, head=head(attempt), resources={"cpu": cpu} if cpu else {}, labels=labels)


@dataclass(frozen=True)
class Proposed:
    """A proposal of an attempt, by target."""

    placement: PlacementRef
    attempt: int
    cpu: dict[str, float]


@dataclass(frozen=True)
class Seen:
    """An entry of the bucket as it is seen."""

    target: str
    reservation: Reservation


@dataclass(frozen=True)
class Deleted:
    """An entry of the bucket that is gone."""

    target: str
    placement: PlacementRef


@dataclass(frozen=True)
class Passed:
    """Time that passes, or is set back."""

    seconds: float


Event = Proposed | Seen | Deleted | Passed

amounts = st.sampled_from([0.1, 0.3, 0.7, 1e9])
attempts = st.integers(1, 4)
events = st.one_of(
    st.builds(
        Proposed, st.sampled_from(PLACEMENTS), attempts, st.dictionaries(st.sampled_from(TARGETS), amounts, max_size=3)
    ),
    st.builds(
        Seen,
        st.sampled_from(TARGETS),
        st.builds(taking, st.sampled_from(PLACEMENTS), attempts, st.sampled_from([0.0, 0.1, 0.3, 0.7, 1e9])),
    ),
    st.builds(Deleted, st.sampled_from(TARGETS), st.sampled_from(PLACEMENTS)),
    st.builds(Passed, st.sampled_from([1.0, 4.0, SECONDS - 0.5, SECONDS, -1.0])),
)


class Told:
    """The same by brute force: all that happened, read from the beginning whenever somebody asks."""

    def __init__(self) -> None:
        self.past: list[tuple[Event, float]] = []

    def reserved(self, upto: int | None = None) -> dict[Place, Reservation]:
        held: dict[Place, Reservation] = {}
        for event, _ in self.past[:upto]:
            if isinstance(event, Seen) and event.reservation.resources:
                held[event.target, event.reservation.placement] = event.reservation
            elif isinstance(event, Seen):
                held.pop((event.target, event.reservation.placement), None)
            elif isinstance(event, Deleted):
                held.pop((event.target, event.placement), None)
        return held

    def assumed(self, who: PlacementRef) -> dict[str, float]:
        """What stands of the newest proposal, by target."""
        stands: dict[str, float] = {}
        attempt, since, of, settled = 0, 0.0, 0, set[str]()
        for place, (event, at) in enumerate(self.past):
            if stands and not since <= at < since + SECONDS:
                stands = {}
            if isinstance(event, Proposed) and event.placement == who:
                known = [each for (_, owner), each in self.reserved(place).items() if owner == who]
                older = stands and event.attempt < attempt
                if not older and all(each.head.attempt < event.attempt for each in known):
                    stands, attempt, since, of, settled = dict(event.cpu), event.attempt, at, len(event.cpu), set()
            elif isinstance(event, Seen) and event.reservation.placement == who and stands:
                if event.reservation.head.attempt >= attempt:
                    settled.add(event.target)
                    stands.pop(event.target, None)
                if event.reservation.head.attempt > attempt or len(settled) >= of:
                    stands = {}
        return stands

    def amounts(self, target: str, *, assumed: bool = True) -> Iterator[float]:
        held = self.reserved()
        for who in PLACEMENTS:
            reservation = held.get((target, who))
            here = reservation.resources["cpu"] if reservation else 0.0
            yield max(here, self.assumed(who).get(target, 0.0)) if assumed else here


@example(
    [
        Proposed(PLACEMENTS[0], 1, {"root/a": 0.1}),
        Passed(1.0),
        Proposed(PLACEMENTS[1], 1, {"root/a": 0.1}),
        Passed(-1.0),
    ]
)
@given(st.lists(events, max_size=12))
def test_any_order_of_events_leaves_what_brute_force_finds(happened) -> None:
    taken, told, now = Taken(SECONDS), Told(), 0.0
    for event in happened:
        now += event.seconds if isinstance(event, Passed) else 0.0
        told.past.append((event, now))
        taken.expire(now)
        match event:
            case Proposed(who, attempt, cpu):
                asked = {target: taking(who, attempt, amount) for target, amount in cpu.items()}
                taken.assume(who, head(attempt), asked, now)
            case Seen(target, reservation):
                taken.reserve(target, reservation)
            case Deleted(target, who):
                taken.release(target, who)
        for target in TARGETS:
            assert taken.total(target, "cpu") == math.fsum(told.amounts(target))
            assert taken.total(target, "cpu", assumed=False) == math.fsum(told.amounts(target, assumed=False))
            alone, _ = told.amounts(target)
            assert taken.total(target, "cpu", but=PLACEMENTS[1]) == alone
            assert taken.total_below(target, "root", "cpu") == math.fsum(told.amounts(target))
        there = {who for who in PLACEMENTS if any(owner == who for _, owner in told.reserved()) or told.assumed(who)}
        assert {who for who, _ in taken.neighbours("root:shop", "shop")} == there


@given(st.lists(st.floats(0, allow_infinity=False, max_value=1e300), max_size=20), st.randoms(use_true_random=False))
def test_sums_are_rounded_as_if_once_and_forget_what_is_taken_away(terms, random) -> None:
    total = 0
    for term in terms:
        total += exact(term)
    assert rounded(total) == math.fsum(terms)
    for term in random.sample(terms, len(terms)):
        total -= exact(term)
    assert total == 0


def test_what_changes_is_told_and_what_stays_as_it_was_is_not() -> None:
    taken, (who, _) = Taken(SECONDS), PLACEMENTS
    assert taken.assume(who, head(1), {"root/a": taking(who, 1, 2.0)}, 0.0) == {("root/a", who)}
    assert taken.reserve("root/a", taking(who, 1, 2.0)) == set(), "assumed before, and reserved now"
    assert taken.reserve("root/a", taking(who, 1, 1.0)) == {("root/a", who)}
    assert taken.release("root/a", who) == {("root/a", who)}


def test_what_was_there_stays_reserved_where_less_is_proposed() -> None:
    taken, (who, _) = Taken(SECONDS), PLACEMENTS
    taken.reserve("root/a", taking(who, 1, 2.0))
    taken.assume(who, head(2), {"root/a": taking(who, 2, 0.5), "root/b": taking(who, 2, 0.5)}, 0.0)
    assert [taken.total(target, "cpu") for target in TARGETS] == [2.0, 0.5, 0.0]


def test_alternates_that_were_reserved_end_what_was_assumed_elsewhere() -> None:
    taken, (who, _) = Taken(SECONDS), PLACEMENTS
    taken.assume(who, head(1), {"root/a": taking(who, 1, 1.0)}, 0.0)
    taken.reserve("root/c", taking(who, 1, 1.0))
    assert [taken.total(target, "cpu") for target in TARGETS] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("seconds", [0.0, SECONDS])
def test_no_more_is_assumed_than_the_bounds_allow(seconds) -> None:
    taken = Taken(seconds, most_assumed=3)
    for number in range(5):
        who = placement(f"p{number}")
        taken.assume(who, head(1), {"root/a": taking(who, 1, 1.0)}, float(number))
    assert taken.total("root/a", "cpu") == (3.0 if seconds else 0.0)
    assert set(taken.assumed_in) == ({"root/a"} if seconds else set())


def test_neighbours_are_met_where_they_are_assumed_with_their_newest_labels() -> None:
    taken, (who, _) = Taken(SECONDS), PLACEMENTS
    taken.reserve("root/a", taking(who, 1, 1.0, app="old"))
    taken.assume(who, head(2), {"root/b": taking(who, 2, 1.0, app="new")}, 0.0)
    assert list(taken.neighbours("root:shop", "shop")) == [(who, {"app": "new"})]
    assert set(taken.targets_of(who)) == {"root/a", "root/b"}

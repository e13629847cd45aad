"""Preemption: who would have to leave so that something fits, and that nobody does for nothing."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.harm import PossibleVictim, harm_of, least_harm, no_less_than
from services.scheduler.preempting import propose
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.model.decision import Proposal, Reservation
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef
from shared.model.request import Preempting, Request
from shared.model.resources import add, fits
from shared.model.target import Target
from tests.unit.scheduler.builders import NOW, deployment, placement, request, snapshot_of, target

OTHERS = "root:others"


def held(name: str, cpu: float, rank: int | None, workspace: str = OTHERS, **more: Any) -> Reservation:
    """What another placement reserves."""
    return Reservation(
        placement=PlacementRef(workspace=workspace, namespace="shop", name=name),
        head=Head(uid=f"uid-{name}", generation=1, attempt=1),
        resources={"cpu": cpu},
        rank=rank,
        **more,
    )


def preempting(
    targets: Sequence[Target], cpu: float = 4.0, rank: int = 10, spec: dict[str, Any] | None = None, **more: Any
) -> Request:
    asked = request(
        {"priority": rank, **(spec or {})},
        workload=[deployment(cpu=cpu, **({"replicas": more.pop("replicas")} if "replicas" in more else {}))],
        **more,
    )
    return msgspec.structs.replace(asked, preempting=Preempting(targets=tuple(each.id for each in targets), rank=rank))


def proposed(asked: Request, snapshot: Snapshot, targets: Iterable[Target]) -> Proposal:
    ids = tuple(each.id for each in targets)
    return propose(asked, snapshot, ids, now=NOW, settings=SchedulerSettings()).proposal


def victims(proposal: Proposal) -> dict[str, list[str]]:
    """By target the names of those who would have to leave."""
    found = proposal.preemption.victims if proposal.preemption is not None else {}
    return {name: [each.name for each in those] for name, those in found.items()}


def test_those_of_the_lowest_rank_leave_and_no_more_than_needed() -> None:
    east = target("east")
    taken = [("root/east", held(name, cpu, rank)) for name, cpu, rank in (("a", 3, 5), ("b", 3, 0), ("c", 3, 0))]
    proposal = proposed(preempting([east]), snapshot_of([east], taken), [east])
    assert victims(proposal) == {"root/east": ["b"]}
    assert proposal.refusal is not None
    assert proposal.refusal.code == RefusalCode.PREEMPTING
    assert proposal.refusal.message.startswith("1 placement of lower priority has to leave east for it; ")
    assert not proposal.selected


def test_the_target_with_the_least_harm_is_chosen() -> None:
    targets = [target("east"), target("west"), target("north")]
    taken = [
        ("root/east", held("a", 9, 5)),  # of higher rank
        ("root/west", held("b", 4, 0)),
        ("root/west", held("c", 5, 0)),  # one of two will do
        ("root/north", held("d", 3.5, 0)),
        ("root/north", held("e", 6.5, 10)),  # as high as the one that asks
    ]
    proposal = proposed(preempting(targets, cpu=3.5), snapshot_of(targets, taken), targets)
    assert victims(proposal) == {"root/north": ["d"]}  # one of two, and it is smaller


@pytest.mark.parametrize(
    "other",
    [
        held("same", 9, 10),
        held("higher", 9, 11),
        held("unknown", 9, None),
        held("of-its-own-workspace", 9, 0, workspace="root:shop", priority=10),
        held("budget", 9, 0, budget=0),
        msgspec.structs.replace(held("hold:x", 9, 0), until=NOW + 60),
    ],
    ids=lambda each: each.placement.name,
)
def test_who_does_not_have_to_leave(other: Reservation) -> None:
    east = target("east")
    proposal = proposed(preempting([east]), snapshot_of([east], [("root/east", other)]), [east])
    assert proposal.preemption is None
    assert proposal.refusal is not None
    assert proposal.refusal.code == RefusalCode.NO_FEASIBLE_TARGET


def test_nobody_leaves_where_the_requester_may_not_preempt() -> None:
    east, west = target("east"), target("west")
    taken = [("root/east", held("a", 9, 0)), ("root/west", held("b", 9, 5))]
    assert victims(proposed(preempting([west]), snapshot_of([east, west], taken), [east, west])) == {"root/west": ["b"]}
    never = msgspec.structs.replace(preempting([]), preempting=None)
    assert proposed(never, snapshot_of([east, west], taken), [east, west]).preemption is None


def test_nobody_leaves_where_something_else_is_in_the_way() -> None:
    east = target("east", unschedulable=True)
    proposal = proposed(preempting([east]), snapshot_of([east], [("root/east", held("a", 9, 0))]), [east])
    assert proposal.preemption is None


def test_one_that_leaves_a_target_already_is_not_asked_beyond_its_budget() -> None:
    east, west = target("east"), target("west")
    waiting = held("nomination:first", 9, None, until=NOW + 60, victims=(held("a", 9, 0).placement,))
    taken = [("root/east", held("a", 9, 0, budget=1)), ("root/west", held("a", 9, 0, budget=1)), ("root/east", waiting)]
    asked = preempting([west])
    assert proposed(asked, snapshot_of([east, west], taken), [east, west]).preemption is None
    assert victims(proposed(asked, snapshot_of([east, west], taken[:2]), [east, west])) == {"root/west": ["a"]}


@pytest.mark.parametrize(("cpu", "stays"), [(6.0, True), (7.0, False)])
def test_who_has_to_leave_stays_until_it_is_told_to_and_takes_no_more(cpu: float, stays: bool) -> None:
    """As where its budget has it leave another target first: the room that others wait for is its own for as long."""
    targets = [target("east"), target("west")]
    asked = request({}, workload=[deployment(cpu=cpu)], previous=["root/east"])
    own = Reservation(
        placement=asked.placement, head=asked.head, resources={"cpu": 6.0, "memory": 1.0, "pods": 1.0}, rank=0
    )
    awaits = held("nomination:first", 8.0, None, until=NOW + 60, victims=(asked.placement,))
    snapshot = snapshot_of(targets, [("root/east", own), ("root/east", awaits)])
    assert [each.target for each in proposed(asked, snapshot, targets).selected] == [
        "root/east" if stays else "root/west"
    ]
    told = msgspec.structs.replace(asked, preempted={"root/east": "another placement"}, leaving=("root/east",))
    assert [each.target for each in proposed(told, snapshot, targets).selected] == ["root/west"]


def test_where_others_are_leaving_for_it_nobody_else_is_asked() -> None:
    east, west = target("east"), target("west")
    asked = preempting([east, west])
    nominated = Reservation(
        placement=asked.placement.nomination,
        head=asked.head,
        resources={"cpu": 4.0},
        until=NOW + 60,
        victims=(held("a", 9, 5).placement,),
    )
    taken = [("root/east", held("a", 9, 5)), ("root/west", held("b", 9, 0)), ("root/east", nominated)]
    proposal = proposed(asked, snapshot_of([east, west], taken), [east, west])
    assert proposal.preemption is None
    assert proposal.refusal is not None
    assert proposal.refusal.code == RefusalCode.PREEMPTING
    assert proposal.refusal.message.startswith("it waits for others to leave east; ")
    # Once they have left, the room that was held is its own.
    gone = proposed(asked, snapshot_of([east, west], taken[1:]), [east, west])
    assert [each.target for each in gone.selected] == ["root/east"]
    # For another wish it is worked out anew.
    anew = msgspec.structs.replace(asked, head=msgspec.structs.replace(asked.head, generation=2))
    assert victims(proposed(anew, snapshot_of([east, west], taken), [east, west])) == {"root/west": ["b"]}


def test_where_several_targets_are_wanted_the_others_stay_as_they_are() -> None:
    targets = [target("east"), target("west"), target("north")]
    taken = [("root/east", held("a", 9, 0)), ("root/west", held("b", 9, 1))]
    asked = preempting(targets, spec={"targets": {"count": {"min": 2}}})
    proposal = proposed(asked, snapshot_of(targets, taken), targets)
    assert victims(proposal) == {"root/east": ["a"]}
    assert proposal.preemption is not None
    assert sorted(each.target for each in proposal.preemption.choices) == ["root/east", "root/north"]


def test_divided_replicas_have_as_many_leave_as_they_need() -> None:
    targets = [target("east"), target("west")]
    taken = [("root/east", held(f"e{number}", 2, 0)) for number in range(5)]
    taken += [("root/west", held(f"w{number}", 2, 1)) for number in range(5)]
    asked = preempting(targets, cpu=1.0, replicas=5, spec={"replicas": {"division": "Aggregated"}})
    proposal = proposed(asked, snapshot_of(targets, taken), targets)
    assert list(victims(proposal)) == ["root/east"]
    assert len(victims(proposal)["root/east"]) == 3


def test_divided_replicas_have_others_leave_where_there_is_room_for_some_of_them() -> None:
    targets = [target("east"), target("west")]
    taken = [("root/east", held("low", 4, 0)), ("root/east", held("lower", 3, -1)), ("root/west", held("w", 10, 1))]
    asked = preempting(targets, cpu=1.0, replicas=6, spec={"replicas": {"division": "Aggregated"}})
    proposal = proposed(asked, snapshot_of(targets, taken), targets)
    assert victims(proposal) == {"root/east": ["lower"]}
    assert proposal.preemption is not None
    assert [(each.target, each.replicas) for each in proposal.preemption.choices] == [("root/east", 6)]


def test_the_snapshot_is_as_it_was() -> None:
    east = target("east")
    taken = [("root/east", held(name, 3, 0)) for name in "abc"]
    snapshot = snapshot_of([east], taken)
    proposed(preempting([east]), snapshot, [east])
    assert snapshot.taken.total("root/east", "cpu") == 9
    assert {each.placement.name for each in snapshot.taken.at("root/east")} == {"a", "b", "c"}


# Brute force: the same as trying every set.

AMOUNTS = st.integers(0, 4).map(float)
POSSIBLE = st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(-1, 2)), max_size=7)


def possible_victims(drawn: Sequence[tuple[float, float, int]]) -> list[PossibleVictim]:
    return [
        PossibleVictim(
            placement=placement(f"p{number}"),
            target="root/east",
            rank=rank,
            resources={"cpu": cpu, "memory": memory},
            share=(cpu + memory) / 10,
        )
        for number, (cpu, memory, rank) in enumerate(drawn)
    ]


@given(POSSIBLE, st.integers(1, 8).map(float), st.integers(0, 8).map(float))
def test_the_least_harm_is_that_of_all_sets(drawn: list[tuple[float, float, int]], cpu: float, memory: float) -> None:
    possible = possible_victims(drawn)
    lacking = {"cpu": cpu, **({"memory": memory} if memory else {})}
    sets = [some for count in range(len(possible) + 1) for some in combinations(possible, count)]
    enough = [some for some in sets if fits(lacking, add(*(each.resources for each in some)))]
    found = least_harm(possible, lacking)
    assert (found is None) == (not enough)
    if found is not None:
        assert harm_of(found) == min(map(harm_of, enough))
        said = no_less_than(possible, lacking)
        assert said is not None
        assert said <= harm_of(found)[:2]
    else:
        assert no_less_than(possible, lacking) is None


def test_among_very_many_few_leave_and_none_in_vain() -> None:
    possible = possible_victims([(1.0 + number % 3, 0.0, 0) for number in range(40)])
    found = least_harm(possible, {"cpu": 20.0})
    assert found is not None
    assert sum(each.resources["cpu"] for each in found) >= 20
    for each in found:
        assert sum(other.resources["cpu"] for other in found if other is not each) < 20


# Properties, over small worlds: targets of 10 cores, placements of some rank in them.

WORLDS = st.lists(st.lists(st.tuples(st.integers(1, 6), st.integers(-2, 12)), max_size=4), min_size=1, max_size=4)


@given(WORLDS, st.integers(1, 10), st.integers(0, 12), st.sampled_from([1, 2, None]))
def test_nobody_of_higher_or_equal_rank_leaves_and_nobody_in_vain(
    drawn: list[list[tuple[int, int]]], cpu: int, rank: int, count: int | None
) -> None:
    targets = [target(f"t{number}") for number in range(len(drawn))]
    taken: list[tuple[str, Reservation]] = []
    for where, those in zip(targets, drawn, strict=True):
        room = 10
        for number, (amount, its_rank) in enumerate(those):
            if amount <= room:
                room -= amount
                taken.append((where.id, held(f"{where.name}-{number}", amount, its_rank)))
    if count is None:  # replicas are divided
        divided = {"replicas": {"division": "Aggregated"}}
        asked = preempting(targets, cpu=1.0, replicas=2 * cpu, rank=rank, spec=divided)
    else:
        asked = preempting(targets, cpu=cpu, rank=rank, spec={"targets": {"count": {"min": count}}})
    proposal = proposed(asked, snapshot_of(targets, taken), targets)
    gone = {
        (where, each)
        for where, those in (proposal.preemption.victims if proposal.preemption else {}).items()
        for each in those
    }
    left = [(where, each) for where, each in taken if (where, each.placement) not in gone]
    assert all(each.rank < rank for where, each in taken if (where, each.placement) in gone)  # type: ignore[operator]
    without = msgspec.structs.replace(asked, preempting=None)

    def does(some: list[tuple[str, Reservation]]) -> bool:
        return proposed(without, snapshot_of(targets, some), targets).refusal is None

    lower = [(where, each) for where, each in taken if each.rank is not None and each.rank >= rank]
    if proposal.preemption is not None:
        assert not does(taken)
        assert does(left)
        for back in taken:
            if back not in left:
                assert not does([*left, back])
        if count != 2:  # and no other set would do less harm
            (highest,) = {max(each.rank or 0 for where, each in taken if (where, each.placement) in gone)}
            below = [pair for pair in taken if (pair[1].rank or 0) >= highest]
            assert not does(below)
    else:
        assert does(taken) or not does(lower)

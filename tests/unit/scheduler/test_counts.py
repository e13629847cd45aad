"""How many targets, how many replicas in each, and when a healthy placement may move."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import Outcome
from tests.unit.scheduler.builders import NOW, decide, deployment, request, target


def replicas(outcome: Outcome) -> list[int | None]:
    return [choice.replicas for choice in outcome.proposal.selected]


@pytest.mark.parametrize(
    ("count", "taken"),
    [
        ({"min": "30%"}, 3),
        ({"min": "31%"}, 4),
        ({"min": "100%"}, 10),
        ({"max": "39%"}, 3),
        ({"max": "1%"}, 1),
        ({"min": 2, "max": "50%"}, 5),
    ],
)
def test_a_percentage_is_of_the_targets_that_fit(count: dict[str, Any], taken: int) -> None:
    fleet = [target(f"t{number}", ready=number < 10) for number in range(20)]
    assert len(decide(request({"targets": {"count": count}}), fleet).proposal.selected) == taken


def test_a_percentage_that_exceeds_the_most_is_a_contradiction() -> None:
    fleet = [target(f"t{number}") for number in range(10)]
    refusal = decide(request({"targets": {"count": {"min": "50%", "max": 3}}}), fleet).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == ("Contradiction", "at least 5 and at most 3 targets are wanted")


def divided(wanted: int, fleet: Any, previous: Any = (), targets: Any = None, **bounds: Any) -> Outcome:
    spec = {"replicas": {"division": "Dynamic", **bounds}, "targets": targets or {"all": True}}
    return decide(request(spec, workload=[deployment(replicas=wanted, cpu=1.0)], previous=previous), fleet)


FOUR = [target(f"t{number}") for number in range(4)]


@pytest.mark.parametrize(
    ("wanted", "bounds", "expected"),
    [
        (12, {}, [3, 3, 3, 3]),
        (12, {"minPerTarget": 4}, [4, 4, 4]),
        (12, {"minPerTarget": 5}, [6, 6]),
        (12, {"maxPerTarget": 3}, [3, 3, 3, 3]),
        (9, {"minPerTarget": 2, "maxPerTarget": 3}, [2, 2, 2, 3]),
        (7, {"division": "Weighted", "minPerTarget": 3}, [3, 4]),
        (7, {"division": "Aggregated", "maxPerTarget": 3}, [1, 3, 3]),
    ],
)
def test_replicas_per_target_are_bounded(wanted: int, bounds: dict[str, Any], expected: list[int]) -> None:
    assert sorted(count or 0 for count in replicas(divided(wanted, FOUR, **bounds))) == expected


@pytest.mark.parametrize(
    ("wanted", "bounds", "code", "message"),
    [
        (3, {"minPerTarget": 4}, "Contradiction", "1 target is wanted for 3 replicas, at least 4 in each"),
        (
            13,
            {"maxPerTarget": 3},
            "InsufficientCapacity",
            "13 replicas are wanted; the 4 targets with most room have room for 12",
        ),
        (20, {"minPerTarget": 11}, "NoFeasibleTarget", "0/4 targets: 4 insufficient cpu"),
    ],
)
def test_bounds_that_cannot_be_met_are_refused(wanted: int, bounds: dict[str, Any], code: str, message: str) -> None:
    refusal = divided(wanted, FOUR, **bounds).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == (code, message)


def test_what_a_target_had_gives_way_to_new_bounds() -> None:
    before = [("root/t0", 8), ("root/t1", 1)]
    outcome = divided(9, FOUR, before, {"count": {"min": 2}}, minPerTarget=3, maxPerTarget=6)
    assert {choice.target: choice.replicas for choice in outcome.proposal.selected} == {"root/t0": 6, "root/t1": 3}


@given(
    st.integers(1, 60),
    st.integers(1, 8),
    st.none() | st.integers(8, 12),
    st.sampled_from(["Weighted", "Dynamic", "Aggregated"]),
    st.lists(st.integers(0, 16), min_size=1, max_size=6),
    st.lists(st.integers(0, 12), max_size=6),
)
def test_bounds_hold_and_all_replicas_are_placed(wanted, least, most, division, cores, had) -> None:
    fleet = [target(f"t{number}", allocatable={"cpu": float(cpu), "pods": 99.0}) for number, cpu in enumerate(cores)]
    previous = [(f"root/t{number}", count) for number, count in enumerate(had)]
    bounds = {"division": division, "minPerTarget": least, **({"maxPerTarget": most} if most else {})}
    counts = replicas(divided(wanted, fleet, previous, {"count": {"max": len(fleet)}}, **bounds))
    if counts:
        assert sum(count or 0 for count in counts) == wanted
        assert all(least <= (count or 0) <= (most or wanted) for count in counts)
    else:
        # Refused: no number of targets divides what is wanted, or there is no room.
        room = sum(min(cpu, most or cpu) for cpu in cores if cpu >= least)
        assert (
            room < wanted
            or wanted < least
            or not any(_divides(wanted, least, most, cores, n) for n in (1, 2, 3, 4, 5, 6))
        )


def _divides(wanted: int, least: int, most: int | None, cores: list[int], taken: int) -> bool:
    rooms = sorted((min(cpu, most or cpu) for cpu in cores if cpu >= least), reverse=True)[:taken]
    return len(rooms) == taken and least * taken <= wanted <= sum(rooms)


@pytest.mark.parametrize(
    ("cooldown", "ago", "moves"),
    [("10m", 599.0, False), ("10m", 600.0, True), ("0s", 0.0, True), ("1h30m", 5000.0, False)],
)
def test_a_healthy_placement_moves_to_a_better_target_only_after_its_cooldown(cooldown, ago, moves) -> None:
    fleet = [target("busy", allocated={"cpu": 8.0}), target("free")]
    spec = {"stability": {"stickiness": 0, "rebalance": {"type": "WhenBetter", "by": 1, "cooldown": cooldown}}}
    outcome = decide(request(spec, previous=["root/busy"], moved_at=NOW - ago), fleet)
    assert [choice.target for choice in outcome.proposal.selected] == ["root/free" if moves else "root/busy"]


@pytest.mark.parametrize("fleet", [[], FOUR, [target("full", allocatable={})]])
@pytest.mark.parametrize("count", [{"min": 0}, {"min": 0, "max": 0}])
def test_where_no_target_is_wanted_none_is_taken_and_nothing_is_refused(fleet: Any, count: dict[str, int]) -> None:
    outcome = decide(request({"targets": {"count": count}}, previous=["root/t1"]), fleet)
    assert outcome.proposal.refusal is None
    assert (outcome.proposal.selected, outcome.proposal.alternates) == ((), ())


def test_where_no_target_is_wanted_what_is_wrong_with_the_placement_is_still_said() -> None:
    spec = {"targets": {"count": {"min": 0}}, "strategy": {"scorers": [{"name": "Nonsense"}]}}
    refusal = decide(request(spec), FOUR).proposal.refusal
    assert refusal is not None
    assert refusal.code == "UnknownScorer"


@pytest.mark.parametrize("division", ["Duplicated", "Weighted", "Dynamic", "Aggregated"])
def test_a_workload_scaled_to_zero_is_placed_and_takes_no_room(division: str) -> None:
    spec = {"targets": {"count": {"min": 2}}, "replicas": {"division": division}}
    outcome = decide(request(spec, workload=[deployment(replicas=0, cpu=100.0)]), FOUR)
    assert replicas(outcome) == [0, 0]
    assert all(not any(choice.reserve.values()) for choice in outcome.proposal.selected)

"""Tiers of affinity: the first that can take the whole placement does, and stability says when it returns."""

from typing import Any

import pytest

from services.scheduler.core import Outcome
from tests.unit.scheduler.builders import NOW, REGION, decide, deployment, request, target

FLEET = [
    *(target(f"own{number}", region="own") for number in range(2)),
    *(target(f"rented{number}", region="rented") for number in range(3)),
]
DAY = 86_400.0


def tier(name: str, *regions: str) -> dict[str, Any]:
    expression = {"key": REGION, "operator": "In", "values": list(regions)}
    return {"name": name, "required": [{"matchExpressions": [expression]}] if regions else []}


def placed(count: int, cpu: float = 1.0, *, fleet: Any = FLEET, stability: Any = None, **more: Any) -> Outcome:
    spec = {
        "targets": {"count": {"min": count}},
        "affinity": {"tiers": [tier("owned", "own"), tier("rented", "rented"), tier("anywhere")]},
        "stability": stability or {},
    }
    return decide(request(spec, workload=[deployment(cpu=cpu)], **more), fleet)


def chosen(outcome: Outcome) -> list[str]:
    return sorted(choice.target.removeprefix("root/") for choice in outcome.proposal.selected)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "own"),
        (2, "own"),
        (3, "rented"),
        (5, "own rented"),
    ],
)
def test_the_first_tier_that_can_take_the_whole_placement_does(count: int, expected: str) -> None:
    assert {name[:-1] for name in chosen(placed(count))} == set(expected.split())


def test_a_tier_that_lacks_capacity_gives_way_to_the_next() -> None:
    full = [target("own0", region="own", allocated={"cpu": 9.5}), target("rented0", region="rented")]
    outcome = placed(1, fleet=full)
    assert chosen(outcome) == ["rented0"]
    assert outcome.proposal.selected[0].reason == "ranked 1 of 1 in tier rented"
    assert [(each.message, each.targets) for each in outcome.rejections] == [("insufficient cpu", ("root/own0",))]


def test_divided_replicas_that_find_no_room_in_a_tier_go_to_the_next() -> None:
    spec = {
        "affinity": {"tiers": [tier("owned", "own"), tier("rented", "rented")]},
        "targets": {"count": {"max": 3}},
        "replicas": {"division": "Dynamic"},
    }
    outcome = decide(request(spec, workload=[deployment(replicas=25, cpu=1.0)]), FLEET)
    assert {name[:-1] for name in chosen(outcome)} == {"rented"}
    rejected = {each.message: len(each.targets) for each in outcome.rejections}
    assert rejected == {"not in tier rented": 2}


def test_when_no_tier_can_take_it_each_says_why() -> None:
    refusal = placed(6).proposal.refusal
    assert refusal is not None
    assert refusal.code == "TooFewTargets"
    assert refusal.message == (
        "no tier can take it: owned: 6 targets are wanted, 2 fit; 2/5 targets: 3 not in tier owned; "
        "rented: 6 targets are wanted, 3 fit; 3/5 targets: 2 not in tier rented; "
        "anywhere: 6 targets are wanted, 5 fit"
    )


def test_an_empty_tier_and_what_no_tier_names_take_nothing() -> None:
    spec = {"affinity": {"tiers": [tier("nowhere", "mars")]}}
    refusal = decide(request(spec), FLEET).proposal.refusal
    assert refusal is not None
    assert refusal.code == "NoFeasibleTarget"
    assert refusal.message == "no tier can take it: nowhere: 0/5 targets: 5 not in tier nowhere"


def test_a_mistake_in_the_request_is_no_reason_to_try_the_next_tier() -> None:
    spec = {
        "affinity": {"tiers": [tier("owned", "own"), tier("rented", "rented")]},
        "strategy": {"scorers": [{"name": "Resource", "args": {"mode": "Best"}}]},
    }
    refusal = decide(request(spec), FLEET).proposal.refusal
    assert refusal is not None
    assert refusal.code == "InvalidScorer"
    assert "tier" not in refusal.message


MOVES = {"rebalance": {"type": "WhenBetter", "by": 100, "cooldown": "1h"}, "stickiness": 100}


@pytest.mark.parametrize(
    ("stability", "moved_at", "expected"),
    [
        pytest.param({}, 0.0, "rented1", id="a placement that never moves stays in its tier"),
        pytest.param(MOVES, NOW - 1800, "rented1", id="it stays while it cools down"),
        pytest.param(MOVES, NOW - 3600, "own", id="then it returns, whatever the score"),
        pytest.param(MOVES, 0.0, "own", id="one that never moved returns at once"),
    ],
)
def test_the_return_to_a_better_tier_is_bounded_by_stability(stability: Any, moved_at: float, expected: str) -> None:
    outcome = placed(1, stability=stability, previous=["root/rented1"], moved_at=moved_at)
    assert chosen(outcome)[0].startswith(expected)


def test_who_loses_one_target_of_a_lower_tier_moves_only_that() -> None:
    fleet = [*FLEET[:2], *(target(each.name, region="rented", ready=each.name != "rented0") for each in FLEET[2:])]
    gone = ["root/rented0"]
    outcome = placed(2, fleet=fleet, previous=["root/rented0", "root/rented1"], leaving=gone)
    assert chosen(outcome) == ["rented1", "rented2"]


def test_a_tier_that_can_no_longer_hold_the_placement_is_left_for_the_best_that_can() -> None:
    fleet = [*FLEET[:2], target("rented0", region="rented", taints=()), target("rented1", unschedulable=True)]
    outcome = placed(2, fleet=fleet, previous=["root/rented0", "root/rented9"])
    assert chosen(outcome) == ["own0", "own1"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(4, ["own0", "own1", "rented0", "rented1"]), (3, ["own0", "own1"]), (2, ["own0", "own1"]), (1, ["own"])],
)
def test_where_fewer_targets_are_wanted_the_overflow_goes_first(count: int, expected: list[str]) -> None:
    everywhere = [f"root/{each.name}" for each in FLEET]
    # What is rented scores better: it is emptier.
    fleet = [*(target(each.name, region="own", allocated={"cpu": 8.0}) for each in FLEET[:2]), *FLEET[2:]]
    found = chosen(placed(count, fleet=fleet, previous=everywhere))
    assert len(found) == count
    if count < 3:
        assert all(each.startswith("own") for each in found)
    else:
        assert found[:2] == ["own0", "own1"]


@pytest.mark.parametrize("division", ["Dynamic", "Aggregated"])
@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        (18, {"own0": 8, "own1": 4, "rented0": 6}),
        (13, {"own0": 8, "own1": 4, "rented0": 1}),
        (12, {"own0": 8, "own1": 4}),
    ],
)
def test_where_fewer_replicas_are_wanted_those_in_the_last_tier_go_first(
    division: str, replicas: int, expected: dict[str, int]
) -> None:
    spec = {
        "affinity": {"tiers": [tier("owned", "own"), tier("anywhere")]},
        "targets": {"count": {"max": 3}},
        "replicas": {"division": division},
    }
    before = [("root/own0", 8), ("root/own1", 4), ("root/rented0", 6)]
    outcome = decide(request(spec, workload=[deployment(replicas=replicas, cpu=1.0)], previous=before), FLEET)
    assert {each.target.removeprefix("root/"): each.replicas for each in outcome.proposal.selected} == expected

"""Replicas: the methods by hand, and what a whole decision divides."""

import msgspec
import pytest

from services.scheduler.division import fill, webster
from shared.model.target import ApiKind
from tests.unit.scheduler.builders import DEPLOYMENT, decide, deployment, request, target

NO_LIMIT = [10**9] * 4
DYNAMIC = {"replicas": {"division": "Dynamic"}}


@pytest.mark.parametrize(
    ("seats", "weights", "room", "at_least", "expected"),
    [
        (0, [1, 1], NO_LIMIT, [0, 0], [0, 0]),
        (3, [1, 1], NO_LIMIT, [0, 0], [2, 1]),  # a tie goes to the first name
        (4, [3, 1], NO_LIMIT, [0, 0], [3, 1]),
        (5, [3, 1], NO_LIMIT, [0, 0], [4, 1]),  # 3/7 against 1/3
        (6, [3, 1], NO_LIMIT, [0, 0], [4, 2]),  # 3/9 and 1/3 tie: to the fewest so far
        (10, [5, 3, 1], NO_LIMIT, [0, 0, 0], [6, 3, 1]),
        (10, [53, 24, 23], NO_LIMIT, [0, 0, 0], [6, 2, 2]),  # for the last, 53/11 is more than 24/5
        (10, [5, 3, 1], [4, 9, 9], [0, 0, 0], [4, 4, 2]),
        (10, [5, 3, 1], [2, 2, 2], [0, 0, 0], [2, 2, 2]),
        (3, [100, 1, 1], NO_LIMIT, [1, 1, 1], [1, 1, 1]),
        (4, [100, 1, 1], NO_LIMIT, [1, 1, 1], [2, 1, 1]),
        (5, [0, 1], NO_LIMIT, [0, 0], [0, 5]),
        (1000, [5, 3, 2], NO_LIMIT, [0, 0, 0], [500, 300, 200]),
        (100_000, [1, 1, 1], NO_LIMIT, [0, 0, 0], [33_334, 33_333, 33_333]),
        (100_000, [3, 1], [10, 10**9], [0, 0], [10, 99_990]),
    ],
)
def test_webster(seats, weights, room, at_least, expected) -> None:
    names = ["a", "b", "c"][: len(weights)]
    room = room[: len(weights)]
    assert webster(seats, weights, names, room, at_least) == expected


def test_fill_fills_in_order() -> None:
    assert fill(7, [4, 4, 4], [1, 1, 1]) == [4, 2, 1]
    assert fill(2, [4, 4], [1, 1]) == [1, 1]


def divided(spec, fleet, replicas, previous=(), **requests):
    requests = requests or {"cpu": 1.0}
    outcome = decide(request(spec, workload=[deployment(replicas=replicas, **requests)], previous=previous), fleet)
    assert outcome.proposal.refusal is None, outcome.proposal.refusal
    return {choice.target.removeprefix("root/"): choice.replicas for choice in outcome.proposal.selected}


def test_duplicated_runs_everything_everywhere() -> None:
    assert divided({"targets": {"all": True}}, [target("a"), target("b")], 3) == {"a": 3, "b": 3}


def test_weighted_goes_by_the_first_entry_that_matches() -> None:
    weights = [{"target": {"name": "a"}, "weight": 3}, {"selector": {"matchLabels": {"tier": "x"}}, "weight": 2}]
    spec = {"replicas": {"division": "Weighted", "weights": weights}, "targets": {"all": True}}
    fleet = [target("a", labels={"tier": "x"}), target("b", labels={"tier": "x"}), target("c")]
    assert divided(spec, fleet, 12) == {"a": 6, "b": 4, "c": 2}


def test_weighted_never_exceeds_what_a_target_has_room_for() -> None:
    spec = {"replicas": {"division": "Weighted"}, "targets": {"all": True}}
    fleet = [target("a", allocated={"cpu": 8.0}), target("b")]
    assert divided(spec, fleet, 10) == {"a": 2, "b": 8}


def test_dynamic_goes_by_room() -> None:
    fleet = [target("a"), target("b", allocated={"cpu": 5.0})]
    assert divided({**DYNAMIC, "targets": {"all": True}}, fleet, 9) == {"a": 6, "b": 3}


def test_dynamic_scales_by_the_smallest_change() -> None:
    spec, fleet = {**DYNAMIC, "targets": {"all": True}}, [target("a"), target("b", allocated={"cpu": 5.0})]
    before = [("root/a", 2), ("root/b", 4)]
    assert divided(spec, fleet, 6, before) == {"a": 2, "b": 4}
    assert divided(spec, fleet, 8, before) == {"a": 4, "b": 4}  # room left is 8 and 1
    assert divided(spec, fleet, 3, before) == {"a": 1, "b": 2}


def test_aggregated_uses_the_fewest_targets_with_room() -> None:
    spec = {"replicas": {"division": "Aggregated"}, "targets": {"all": True}}
    fleet = [target("a", allocated={"cpu": 4.0}), target("b"), target("c", allocated={"cpu": 1.0})]
    assert divided(spec, fleet, 10) == {"b": 10}
    assert divided(spec, fleet, 15) == {"b": 10, "c": 5}


def test_a_better_target_gives_way_to_one_with_room_when_replicas_would_not_fit() -> None:
    spec = {**DYNAMIC, "targets": {"count": {"min": 2}}, "strategy": {"scorers": [{"name": "Load"}]}}
    fleet = [
        target("good", allocated={"cpu": 7.0}, usage={"cpu": 0.0}),
        target("fair", allocated={"cpu": 7.0}, usage={"cpu": 2.0}),
        target("poor", usage={"cpu": 9.0}),
    ]
    assert divided(spec, fleet, 6) == {"good": 3, "fair": 3}
    assert divided(spec, fleet, 7) == {"good": 2, "poor": 5}


def test_replicas_without_room_are_refused_with_the_numbers() -> None:
    spec = {**DYNAMIC, "targets": {"count": {"min": 1, "max": 2}}}
    asked = request(spec, workload=[deployment(replicas=30, cpu=1.0)])
    refusal = decide(asked, [target("a"), target("b"), target("c")]).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == (
        "InsufficientCapacity",
        "30 replicas are wanted; the 2 targets with most room have room for 20",
    )


def test_several_workloads_are_divided_together_in_proportion() -> None:
    spec = {**DYNAMIC, "targets": {"count": {"min": 2}}}
    disk = msgspec.structs.replace(deployment("disk", None, memory=0.5), api_version="shop.io/v1", kind="Disk")
    apis = (DEPLOYMENT, ApiKind(group="shop.io", resource="disks", kind="Disk", versions=("v1",)))
    workload = [deployment("web", 6, cpu=1.0), deployment("job", 2, memory=1.0), disk]
    selected = decide(request(spec, workload=workload), [target(name, apis=apis) for name in "ab"]).proposal.selected
    assert [choice.replicas for choice in selected] == [3, 3]
    assert [choice.reserve for choice in selected] == [{"pods": 4.0, "cpu": 3.0, "memory": 1.5}] * 2


def test_unlike_workloads_that_run_everywhere_keep_their_own_replicas() -> None:
    workload = [deployment("web", 6), deployment("job", 2)]
    (choice,) = decide(request(workload=workload), [target("a")]).proposal.selected
    assert choice.replicas is None
    assert choice.reserve == {"pods": 8.0, "cpu": 8.0}


def test_a_workload_scaled_to_zero_is_placed_whole() -> None:
    (choice,) = decide(request(DYNAMIC, workload=[deployment(replicas=0)]), [target("a")]).proposal.selected
    assert choice.replicas == 0


def test_dynamic_is_in_proportion_to_all_the_room_there_is() -> None:
    fleet = [
        target("a", allocatable={"cpu": 900.0, "pods": 1000.0}),
        target("b", allocatable={"cpu": 100.0, "pods": 1000.0}),
    ]
    assert divided({**DYNAMIC, "targets": {"all": True}}, fleet, 10) == {"a": 9, "b": 1}


def test_a_target_whose_share_is_none_is_not_taken_unless_a_bound_says_so() -> None:
    weights = {"division": "Weighted", "weights": [{"target": {"name": "a"}, "weight": 50}]}
    fleet = [target("a", allocatable={"cpu": 100.0, "pods": 100.0}), target("b"), target("c")]
    assert divided({"replicas": weights, "targets": {"all": True}}, fleet, 3) == {"a": 3}
    two = divided({"replicas": weights, "targets": {"count": {"min": 2, "max": 3}}}, fleet, 3)
    assert (two.pop("a"), list(two.values())) == (2, [1])
    assert divided({"replicas": {**weights, "minPerTarget": 1}, "targets": {"all": True}}, fleet, 3) == dict.fromkeys(
        "abc", 1
    )


def test_who_has_to_run_one_all_the_same_does_not_take_it_from_who_has_the_only_one() -> None:
    fleet = [target(name, allocatable={"cpu": 6.0, "memory": 9.0, "pods": 50.0}) for name in "abc"]
    asked = request(
        {"targets": {"count": {"min": 3, "max": 3}}, "replicas": {"division": "Aggregated"}},
        workload=[deployment("web", 7, cpu=1.0, memory=0.1)],
        previous=[("root/a", 1)],
    )
    assert sorted(choice.replicas or 0 for choice in decide(asked, fleet).proposal.selected) == [1, 1, 5]


def test_aggregated_empties_first_what_holds_least() -> None:
    spec = {"replicas": {"division": "Aggregated"}, "targets": {"all": True}}
    fleet = [target("a"), target("b"), target("c")]
    assert divided(spec, fleet, 9, [("root/a", 8), ("root/b", 3)]) == {"a": 8, "b": 1}
    assert divided(spec, fleet, 8, [("root/a", 8), ("root/b", 3)]) == {"a": 8}


def test_weights_divide_what_is_added_and_taken_away_and_move_nothing() -> None:
    weights = {"division": "Weighted", "weights": [{"target": {"name": "a"}, "weight": 3}]}
    spec = {"replicas": weights, "targets": {"all": True}}
    fleet = [target("a"), target("b")]
    assert divided(spec, fleet, 4, [("root/a", 2), ("root/b", 2)]) == {"a": 2, "b": 2}
    assert divided(spec, fleet, 8, [("root/a", 2), ("root/b", 2)]) == {"a": 6, "b": 2}
    moving = {**spec, "stability": {"rebalance": {"type": "WhenBetter", "by": 0}}}
    assert divided(moving, fleet, 4, [("root/a", 2), ("root/b", 2)]) == {"a": 3, "b": 1}

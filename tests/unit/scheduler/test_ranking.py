"""Weights, clamping, unknowns, the policy's share, and ties."""

import math

import numpy as np
import pytest

from services.scheduler.ranking import FEW, Part, combine, order
from shared.api import Taint
from tests.unit.scheduler.builders import candidates_of, decide, request, target

A = Part("A", np.array([80.0, 40.0]), 100.0)
B = Part("B", np.array([20.0, math.nan]), 50.0)
WILD = Part("W", np.array([-10.0, 130.0]), 100.0)


@pytest.mark.parametrize(
    ("parts", "policy", "how", "totals"),
    [
        ([A], None, "Weighted", [80.0, 40.0]),
        ([A, B], None, "Weighted", [60.0, 40.0]),  # B knows nothing of the second: A alone counts there
        ([WILD], None, "Weighted", [0.0, 100.0]),
        ([], None, "Weighted", [50.0, 50.0]),
        ([A], [20.0, 90.0], "Weighted", [50.0, 65.0]),
        ([A, B], [20.0, 90.0], "Weighted", [44.0, 65.0]),  # (80·100 + 20·50 + 20·100)/250
        ([A], [20.0, 90.0], "PolicyFirst", [(2000 + 80) / 101, (9000 + 40) / 101]),
        ([A], [20.0, 90.0], "SchedulerFirst", [(8000 + 20) / 101, (4000 + 90) / 101]),
        ([A], [20.0, 90.0], "Consensus", [20.0, 40.0]),
        ([], [20.0, 90.0], "Weighted", [20.0, 90.0]),
        ([], [20.0, 90.0], "PolicyFirst", [20.0, 90.0]),
        ([], [20.0, 90.0], "Consensus", [20.0, 90.0]),
        ([A], [math.nan, 900.0], "Weighted", [40.0, 70.0]),
    ],
)
def test_totals(parts, policy, how, totals) -> None:
    column = None if policy is None else np.array(policy)
    ranking = combine(parts, column, how, 100.0, 2)
    assert ranking.totals.tolist() == pytest.approx(totals, abs=1e-6)
    for position, breakdown in enumerate(ranking.breakdowns(np.arange(2))):
        weighted = sum(part.weighted for part in breakdown.values())
        assert weighted == pytest.approx(ranking.totals[position] if parts or policy else 0.0, abs=1e-6)


def test_stickiness_is_worth_its_points_whoever_else_abstains_and_whatever_the_policy_weighs() -> None:
    spec = {"stability": {"stickiness": 10}}  # of the four scorers only Resource and, on one target, Load speak
    fleet = [target("a", usage={"cpu": 5.0}), target("b")]
    for scores in ((), (60.0, 60.0)):
        there = decide(request(spec, previous=["root/a", "root/b"]), fleet, policy_scores=scores)
        gone = decide(request(spec, previous=["root/gone"]), fleet, policy_scores=scores)
        assert {
            each.target: round(each.score - other.score, 5)
            for each, other in zip(
                sorted(there.scores(), key=lambda choice: choice.target),
                sorted(gone.scores(), key=lambda choice: choice.target),
                strict=True,
            )
        } == {"root/a": 10.0, "root/b": 10.0}


def test_stickiness_is_worth_exactly_its_points() -> None:
    spec = {"strategy": {"scorers": [{"name": "Resource"}]}, "stability": {"stickiness": 10}}
    fleet = [target("a"), target("b")]
    scores = {each.target: each.score for each in decide(request(spec, previous=["root/a"]), fleet).scores()}
    assert scores["root/a"] - scores["root/b"] == pytest.approx(10.0, abs=1e-6)


@pytest.mark.parametrize(
    ("rebalance", "advantage", "moves"),
    [
        ({"type": "Never"}, 9.0, False),
        ({"type": "WhenBetter", "by": 20}, 1.0, False),
        ({"type": "WhenBetter", "by": 20}, 3.999999, False),
        ({"type": "WhenBetter", "by": 20}, 4.0, True),
        ({"type": "WhenBetter", "by": 20}, 5.0, True),
    ],
)
def test_it_moves_only_when_that_gains_enough(rebalance, advantage, moves) -> None:
    spec = {"stability": {"stickiness": 0, "rebalance": rebalance}, "strategy": {"scorers": [{"name": "Resource"}]}}
    fleet = [target("here", allocated={"cpu": advantage}), target("there")]  # 5 points per core
    for name in "abcdefgh":  # whichever the hash prefers
        (choice,) = decide(request(spec, name=name, previous=["root/here"]), fleet).proposal.selected
        assert choice.target == ("root/there" if moves else "root/here")


@pytest.mark.parametrize(
    ("budget", "bound", "leaving", "left"),
    [
        (None, (), (), {"root/a", "root/b", "root/c"}),
        (1, (), (), {"root/a"}),
        (2, (), (), {"root/a", "root/b"}),
        (1, ("root/gone",), (), set()),  # it is still being removed from another
        (2, ("root/gone",), (), {"root/a"}),
    ],
)
def test_who_may_move_leaves_the_worst_targets_and_as_many_as_its_budget_is(budget, bound, leaving, left) -> None:
    stability = {"stickiness": 0, "rebalance": {"type": "WhenBetter", "by": 1}}
    stability |= {} if budget is None else {"disruptionBudget": budget}
    spec = {
        "targets": {"count": {"min": 3}},
        "stability": stability,
        "strategy": {"scorers": [{"name": "Resource"}]},
    }
    fleet = [target(name, allocated={"cpu": taken}) for name, taken in [("a", 9.0), ("b", 8.0), ("c", 7.0)]]
    fleet += [target(name) for name in ("x", "y", "z")]
    on = [each.id for each in fleet[:3]]
    asked = request(spec, previous=on, bound=(*on, *bound), leaving=leaving)
    chosen = {each.target for each in decide(asked, fleet).proposal.selected}
    assert set(on) - chosen == left


def test_a_target_that_is_left_anyway_counts_for_the_budget() -> None:
    spec = {
        "targets": {"count": {"min": 2}},
        "stability": {"stickiness": 0, "rebalance": {"type": "WhenBetter", "by": 1}, "disruptionBudget": 1},
    }
    fleet = [target("a", ready=False), target("b", allocated={"cpu": 9.0}), target("x"), target("y")]
    asked = request(spec, previous=["root/a", "root/b"], bound=("root/a", "root/b"), leaving=("root/a",))
    chosen = {each.target for each in decide(asked, fleet).proposal.selected}
    assert "root/b" in chosen
    assert "root/a" not in chosen


@pytest.mark.parametrize(
    ("stability", "leaving", "left"),
    [
        ({}, ("root/a",), {"root/a", "root/b"}),
        ({"disruptionBudget": 1}, ("root/a",), {"root/a"}),
        ({"disruptionBudget": 1}, (), set()),
    ],
)
def test_who_has_a_budget_leaves_tainted_targets_when_the_controller_says_so(stability, leaving, left) -> None:
    taint = Taint(key="drained", effect="NoExecute")
    fleet = [target("a", taints=(taint,)), target("b", taints=(taint,)), target("x"), target("y", taints=(taint,))]
    fleet.append(target("z"))
    on = ["root/a", "root/b"]
    asked = request(
        {"targets": {"count": {"min": 2}}, "stability": stability}, previous=on, bound=tuple(on), leaving=leaving
    )
    chosen = {each.target for each in decide(asked, fleet).proposal.selected}
    assert set(on) - chosen == left
    assert "root/y" not in chosen


def test_ties_spread_over_targets_from_placement_to_placement_and_stay_put() -> None:
    fleet = [target(f"t{n}") for n in range(10)]
    first = [decide(request(name=f"p{n}"), fleet).proposal.selected[0].target for n in range(200)]
    again = [decide(request(name=f"p{n}"), fleet[::-1]).proposal.selected[0].target for n in range(200)]
    assert first == again
    assert all(8 <= first.count(each.id) <= 35 for each in fleet)


def test_a_millionth_of_a_point_does_not_decide() -> None:
    candidates = candidates_of(request(), [target("a"), target("b")])
    nobody = np.zeros(2, np.bool_)
    alike = order(candidates, np.array([50.0, 50.0]), nobody, 0.0).tolist()
    assert order(candidates, np.array([50.0, 50.0 + 1e-8]), nobody, 0.0).tolist() == alike
    assert order(candidates, np.array([50.0, 50.0 - 1e-8]), nobody, 0.0).tolist() == alike


def test_scores_decide_also_where_hashes_cannot_tell_targets_apart() -> None:
    alike = candidates_of(request(), [target("a"), target("b"), target("c")])
    alike.snapshot.values("hash")[:] = np.uint64(7)
    assert order(alike, np.array([1.0, 1.0, 2.0]), np.array([False, True, False]), 0.0).tolist() == [1, 2, 0]


def test_of_few_targets_and_of_many_the_order_is_by_who_stays_then_score_then_hash() -> None:
    random = np.random.default_rng(14)
    for size in (1, 7, FEW, FEW + 1):
        candidates = candidates_of(request(), [target(f"t{number}") for number in range(size)])
        nobody = np.zeros(size, np.bool_)
        by_hash = order(candidates, np.zeros(size), nobody, 0.0).argsort().tolist()
        for distinct in (2, 50, 1 << 24):
            totals = random.integers(0, distinct, size) / distinct * 100.0
            for kept in (nobody, random.random(size) < 0.2):
                found = order(candidates, totals, kept, 0.0)
                scores = [(not stays, -round(total * 1e6)) for stays, total in zip(kept, totals, strict=True)]
                assert found.tolist() == sorted(range(size), key=lambda each: (*scores[each], by_hash[each]))

"""One decision from end to end: what is taken, what comes next, and what is refused in which words."""

import pytest

from services.scheduler.scorers import KNOWN
from services.scheduler.scorers.resource import MODES
from services.scheduler.snapshot import Snapshot
from shared.model.decision import Rejection
from tests.unit.scheduler.builders import REGION, decide, deployment, request, target


def taken(outcome):
    assert outcome.proposal.refusal is None, outcome.proposal.refusal
    return {choice.target.removeprefix("root/"): choice.replicas for choice in outcome.proposal.selected}


def test_best_fit_takes_the_emptiest_and_reserves_all_replicas_there() -> None:
    asked = request(workload=[deployment(replicas=2, cpu=1.0, memory=2.0)])
    outcome = decide(asked, [target("full", allocated={"cpu": 6.0}), target("empty")])

    (choice,) = outcome.proposal.selected
    assert (choice.target, choice.replicas) == ("root/empty", 2)
    assert choice.reserve == {"pods": 2.0, "cpu": 2.0, "memory": 4.0}
    assert [each.target for each in outcome.proposal.alternates] == ["root/full"]
    assert outcome.proposal.feasible == 2


def test_binpack_takes_the_fullest() -> None:
    asked = request({"strategy": {"type": "Binpack"}, "targets": {"count": {"min": 1, "max": 2}}})
    assert taken(decide(asked, [target("full", allocated={"cpu": 6.0}), target("empty")])) == {"full": 1}


def test_spread_takes_one_per_region_before_a_second() -> None:
    asked = request({"strategy": {"type": "Spread"}, "targets": {"count": {"min": 2}}})
    fleet = [target("a1", region="a"), target("a2", region="a"), target("b", region="b", allocated={"cpu": 8.0})]
    assert "b" in taken(decide(asked, fleet))


def test_the_score_is_the_sum_of_its_breakdown() -> None:
    outcome = decide(
        request(), [target("a", usage={"cpu": 5.0}, latency={"hub": 20.0}), target("b")], policy_scores=(75, 10)
    )
    for choice in (*outcome.proposal.selected, *outcome.proposal.alternates):
        assert sum(part.weighted for part in choice.breakdown.values()) == pytest.approx(choice.score, abs=1e-6)
        weights = sum(part.weight for part in choice.breakdown.values())
        for part in choice.breakdown.values():
            assert part.weighted == pytest.approx(part.raw * part.weight / weights)


@pytest.mark.parametrize(
    ("spec", "fleet", "code", "message"),
    [
        ({}, [], "NoFeasibleTarget", "no targets to choose from"),
        ({}, [target("a", ready=False), target("b", apis=()), target("c", apis=())], "NoFeasibleTarget",
         "0/3 targets: 2 lack apps/v1 Deployment, 1 not ready"),
        ({"targets": {"count": {"min": 3}}}, [target("a"), target("b", ready=False)], "TooFewTargets",
         "3 targets are wanted, 1 fit; 1/2 targets: 1 not ready"),
        ({"strategy": {"scorers": [{"name": "Best"}]}}, [target("a")], "UnknownScorer",
         f"unknown scorer Best; known are {', '.join(KNOWN)}"),
        ({"strategy": {"scorers": [{"name": "Resource", "args": {"mode": "Most"}}]}}, [target("a")], "InvalidScorer",
         f"scorer Resource: mode must be one of {', '.join(MODES)}, not 'Most'"),
        ({"strategy": {"minimumScore": 99.5}}, [target("a")], "NoFeasibleTarget",
         "0/1 targets: 1 below the minimum score"),
        ({"replicas": {"division": "Dynamic"}, "targets": {"count": {"min": 2}}}, [target("a"), target("b")],
         "Contradiction", "2 targets are wanted for 1 replica"),
        ({"targets": {"count": {"min": 3, "max": 2}}}, [target("a")], "Contradiction",
         "at least 3 and at most 2 targets are wanted"),
        ({"spread": [{"topologyKey": REGION, "minDomains": 2, "maxDomains": 1}], "targets": {"count": {"min": 2}}},
         [target("a", region="x"), target("b", region="y")], "Contradiction",
         f"at least 2 domains of {REGION} are wanted, at most 1"),
        ({"spread": [{"topologyKey": REGION, "minDomains": 2}], "targets": {"count": {"min": 2}}},
         [target("a", region="x"), target("b", region="x")], "Contradiction",
         f"at least 2 domains of {REGION} are wanted, 1 has a target that fits"),
        ({"spread": [{"topologyKey": REGION, "minDomains": 2}]}, [target("a", region="x"), target("b", region="y")],
         "Contradiction", f"at least 2 domains of {REGION} are wanted, at most 1 target is taken"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(spec, fleet, code, message) -> None:
    refusal = decide(request(spec), fleet).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == (code, message)


def test_targets_that_left_the_inventory_and_earlier_rejections_are_counted() -> None:
    earlier = Rejection(reason="NotAuthorized", message="not authorized", targets=("root/x", "root/y"))
    outcome = decide(
        request(),
        [target("gone")],
        snapshot=Snapshot(),
        upstream=(earlier,),
    )
    assert [each.reason for each in outcome.rejections] == ["TargetGone"]
    assert outcome.proposal.refusal.message == "0/3 targets: 2 not authorized, 1 gone from the inventory"


@pytest.mark.parametrize(
    ("fleet", "upstream", "stage"),
    [
        ([], ("discovery",), "discovery"),
        ([], ("discovery", "policy"), "policy"),
        ([target("a", ready=False)], ("discovery", "policy"), "scheduler"),
        ([target("a")], (), "scheduler"),
        ([], (), "discovery"),
    ],
)
def test_a_refusal_names_the_last_stage_that_had_targets_to_reject(fleet, upstream, stage) -> None:
    earlier = tuple(Rejection(reason="X", message="x", targets=(f"root/{each}",), stage=each) for each in upstream)
    outcome = decide(request({"targets": {"count": {"min": 2}}}), fleet, upstream=earlier)
    assert outcome.proposal.refusal.stage == stage
    assert {each.stage for each in outcome.rejections} <= {"scheduler"}


def test_after_a_loss_only_what_was_lost_moves() -> None:
    fleet = [target(f"t{n}", allocated={"cpu": float(n)}) for n in range(6)]
    asked = request({"targets": {"count": {"min": 3}}}, previous=["root/t3", "root/t4", "root/t5"])
    assert set(taken(decide(asked, fleet))) == {"t3", "t4", "t5"}
    lost = [target("t4", ready=False, lost_since=1.0) if each.name == "t4" else each for each in fleet]
    assert set(taken(decide(asked, lost))) == {"t0", "t3", "t5"}


def test_without_any_weight_all_targets_are_equally_good() -> None:
    spec = {"strategy": {"scorers": [{"name": "Resource", "weight": 0}]}, "stability": {"stickiness": 0}}
    (choice,) = decide(request(spec), [target("a")]).proposal.selected
    assert (choice.score, choice.breakdown) == (50.0, {})


def test_a_choice_says_where_it_ranked_and_whether_it_was_there() -> None:
    outcome = decide(request(previous=["root/b"]), [target("a"), target("b", allocated={"cpu": 5.0})])
    (kept,), (next_best,) = outcome.proposal.selected, outcome.proposal.alternates
    assert (kept.target, kept.reason) == ("root/b", "runs there already, ranked 1 of 2")
    assert (next_best.target, next_best.reason) == ("root/a", "ranked 2 of 2")


def test_what_is_wanted_of_more_targets_than_there_are_is_taken_as_far_as_it_goes() -> None:
    asked = request({"targets": {"count": {"min": 1, "max": 10_000}}})
    assert len(taken(decide(asked, [target("a"), target("b")]))) == 2


def test_no_alternates_beyond_32_and_at_least_as_many_as_were_taken() -> None:
    fleet = [target(f"t{n:03}") for n in range(100)]
    for count, alternates in ((1, 8), (20, 20), (40, 32), (95, 5)):
        proposal = decide(request({"targets": {"count": {"min": count}}}), fleet).proposal
        assert (len(proposal.selected), len(proposal.alternates)) == (count, alternates)

"""Operators' overrides: forced, excluded, preferred, avoided; and what they never pass over."""

from random import Random

import msgspec
import pytest
from hypothesis import example, given

from shared.api import TargetReference
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.request import OperatorOverride, Request
from shared.model.resources import fits, subtract
from tests.unit.scheduler.builders import REGION, decide, deployment, placement, request, snapshot_of, target
from tests.unit.scheduler.test_properties import fleets, make_fleet, make_request, requests, seeds

EU, US, AP = target("eu", region="eu"), target("us", region="us"), target("ap", region="ap")
FLEET = [EU, US, AP]


def override(kind: str, *targets: str, name: str = "", workspace: str = "root", **more: bool) -> OperatorOverride:
    return OperatorOverride(
        workspace="root",
        name=name or kind.lower(),
        type=kind,
        targets=tuple(TargetReference(name=each, workspace=workspace) for each in targets),
        reason="the lift burns",
        **more,
    )


def asked(*overrides: OperatorOverride, spec: dict[str, object] | None = None, **more: object) -> Request:
    return request(spec, operator_overrides=overrides, **more)  # type: ignore[arg-type]  # as the builder takes them


def chosen(outcome) -> list[str]:
    return [choice.target for choice in outcome.proposal.selected]


@pytest.mark.parametrize("name", ["eu", "us", "ap"])
def test_what_is_forced_is_chosen_whatever_it_scores(name):
    (choice,) = decide(asked(override("Force", name)), FLEET, policy_scores=[10.0, 20.0, 30.0]).proposal.selected
    assert choice.target == f"root/{name}"
    assert choice.forced
    assert "forced by override force" in choice.reason


def test_a_name_without_a_workspace_is_a_target_of_any():
    assert chosen(decide(asked(override("Force", "us", workspace="")), FLEET)) == ["root/us"]


def test_a_forced_target_is_one_of_as_many_as_are_wanted():
    outcome = decide(asked(override("Force", "ap"), spec={"targets": {"count": {"min": 2, "max": 2}}}), FLEET)
    assert len(chosen(outcome)) == 2
    assert "root/ap" in chosen(outcome)


def test_more_may_be_forced_than_are_wanted():
    assert sorted(chosen(decide(asked(override("Force", "eu", "us")), FLEET))) == ["root/eu", "root/us"]


@pytest.mark.parametrize(
    "spec",
    [
        {"targets": {"selector": {"matchLabels": {REGION: "eu"}}}},
        {"targets": {"names": ["eu"]}},
        {"affinity": {"required": [{"matchExpressions": [{"key": REGION, "operator": "In", "values": ["eu"]}]}]}},
        {"affinity": {"tiers": [{"name": "near", "required": [
            {"matchExpressions": [{"key": REGION, "operator": "In", "values": ["eu"]}]}]}]}},
        {"strategy": {"minimumScore": 99}},
        {"spread": [{"topologyKey": "no/such-label", "maxSkew": 1}]},
        {"strategy": {"type": "Spread"}},
        {"strategy": {"type": "Binpack"}},
    ],
)  # fmt: skip
def test_the_placements_own_wishes_are_passed_over(spec):
    assert "root/us" in chosen(decide(asked(override("Force", "us"), spec=spec), FLEET))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"unschedulable": True}, "unschedulable"),
        ({"ready": False}, "not ready"),
        ({"apis": ()}, "lacks apps/v1 Deployment"),
        ({"allocated": {"cpu": 9.5}}, "insufficient cpu"),
        ({"quotas": {"root": {"cpu": 0.5}}}, "quota"),
    ],
)
def test_what_the_target_and_its_owner_say_is_not_passed_over(facts, why):
    outcome = decide(asked(override("Force", "us")), [EU, target("us", **facts)])
    assert outcome.proposal.refusal is not None
    assert outcome.proposal.refusal.code == "ForcedUnfit"
    assert "override force (the lift burns) forces it to us, which cannot take it" in outcome.proposal.refusal.message
    assert why in outcome.proposal.refusal.message


def test_a_forced_target_that_other_stages_left_out_is_refused():
    outcome = decide(asked(override("Force", "elsewhere")), FLEET)
    assert outcome.proposal.refusal is not None
    assert outcome.proposal.refusal.code == "ForcedUnfit"


def test_only_who_says_so_over_commits_and_never_a_quota():
    full = target("us", allocated={"cpu": 9.5})
    outcome = decide(asked(override("Force", "us", over_commit=True)), [EU, full])
    assert chosen(outcome) == ["root/us"]
    assert outcome.proposal.selected[0].over_commit
    bounded = target("us", allocated={"cpu": 9.5}, quotas={"root": {"cpu": 0.5}})
    refused = decide(asked(override("Force", "us", over_commit=True)), [EU, bounded]).proposal.refusal
    assert refused is not None
    assert refused.code == "ForcedUnfit"


def test_divided_replicas_may_be_forced_beyond_the_room():
    asks = {"workload": [deployment(replicas=20, cpu=1.0)], "spec": {"replicas": {"division": "Dynamic"}}}
    (choice,) = decide(asked(override("Force", "us", over_commit=True), **asks), [EU, US]).proposal.selected
    assert (choice.target, choice.replicas) == ("root/us", 20)
    refused = decide(asked(override("Force", "us"), **asks), [EU, US]).proposal.refusal
    assert refused is not None
    assert refused.code == "InsufficientCapacity"


def test_what_is_excluded_is_left_with_the_operators_reason():
    outcome = decide(asked(override("Exclude", "eu"), previous=["root/eu"]), [EU, US])
    assert chosen(outcome) == ["root/us"]
    (rejection,) = outcome.rejections
    assert (rejection.reason, rejection.message, rejection.detail, rejection.targets) == (
        "Excluded", "excluded by override exclude", "the lift burns", ("root/eu",)
    )  # fmt: skip


def test_nothing_is_left_when_all_is_excluded():
    refusal = decide(asked(override("Exclude", "eu", "us", "ap")), FLEET).proposal.refusal
    assert refusal is not None
    assert refusal.message == "0/3 targets: 3 excluded by override exclude"


def test_the_stronger_of_two_decides():
    force, exclude = override("Force", "us"), override("Exclude", "us")
    assert chosen(decide(asked(force, exclude), FLEET)) == ["root/us"]
    assert "root/us" not in chosen(decide(asked(exclude, force), FLEET))
    assert "root/gone" not in chosen(decide(asked(override("Exclude", "gone"), override("Force", "gone")), FLEET))


def test_twenty_points_are_added_or_taken_and_the_score_stays_a_score():
    scores = {"policy_scores": [50.0, 50.0, 50.0]}
    plain = {each.target: each.score for each in decide(asked(), FLEET, **scores).scores()}
    outcome = decide(asked(override("Prefer", "us"), override("Avoid", "eu")), FLEET, **scores)
    moved = {each.target: each for each in outcome.scores()}
    assert moved["root/us"].score == min(plain["root/us"] + 20.0, 100.0)
    assert moved["root/eu"].score == pytest.approx(plain["root/eu"] - 20.0)
    assert moved["root/ap"].score == plain["root/ap"]
    assert chosen(outcome) == ["root/us"]
    assert "preferred by override prefer" in outcome.proposal.selected[0].reason
    for each in moved.values():
        assert sum(part.weighted for part in each.breakdown.values()) == pytest.approx(each.score)


def test_a_word_that_this_version_does_not_know_does_nothing():
    assert decide(asked(override("Banish", "eu", "us", "ap")), FLEET).proposal.refusal is None


def test_of_divided_replicas_what_is_forced_gets_one_at_least():
    asks = {"workload": [deployment(replicas=6, cpu=1.0)], "previous": [("root/eu", 6)]}
    spec = {"targets": {"count": {"min": 1, "max": 2}}, "replicas": {"division": "Aggregated"}}
    outcome = decide(asked(override("Force", "us"), spec=spec, **asks), FLEET)
    replicas = {choice.target: choice.replicas for choice in outcome.proposal.selected}
    assert sum(each or 0 for each in replicas.values()) == 6
    assert (replicas["root/us"] or 0) >= 1


def make_overrides(seed: int) -> tuple[OperatorOverride, ...]:
    random = Random(seed)
    return tuple(
        override(
            kind := random.choice(["Force", "Exclude", "Prefer", "Avoid"]),
            *random.sample([f"t{n:02}" for n in range(12)], random.randint(1, 2)),
            name=f"o{n}",
            **({"over_commit": True} if kind == "Force" and random.random() < 0.3 else {}),
        )
        for n in range(random.randint(1, 3))
    )


@given(requests, fleets, seeds)
@example(make_request(226049), make_fleet(0), 1)  # targets must lie evenly, so that each would get a replica
def test_whatever_is_overridden_the_answer_keeps_to_it(asks, fleet, seed):
    overrides = make_overrides(seed)
    outcome = decide(msgspec.structs.replace(asks, operator_overrides=overrides), fleet)
    said: dict[str, str] = {}
    for each in overrides:
        if each.type in ("Force", "Exclude"):
            for named in each.targets:
                said.setdefault(f"root/{named.name}", each.type)
    taken = {choice.target: choice for choice in outcome.proposal.selected}
    assert all(0.0 <= each.score <= 100.0 for each in outcome.scores())
    offered = [*outcome.proposal.selected, *outcome.proposal.alternates]
    assert not any(said.get(choice.target) == "Exclude" for choice in offered)
    if outcome.proposal.refusal is not None or asks.spec.targets.none:
        assert not taken
        return
    assert {each for each, kind in said.items() if kind == "Force"} <= taken.keys()
    assert all(choice.forced == (said.get(target) == "Force") for target, choice in taken.items())
    total = max((each.replicas for each in asks.workload if each.replicas is not None), default=0)
    if asks.spec.replicas.division != "Duplicated" and total:
        assert sum(choice.replicas or 0 for choice in taken.values()) == total


@given(requests, fleets, seeds)
def test_nobody_is_over_committed_unless_an_override_says_so(asks, fleet, seed):
    overrides = tuple(msgspec.structs.replace(each, over_commit=False) for each in make_overrides(seed))
    asks = msgspec.structs.replace(asks, operator_overrides=overrides, previous=())
    clean = {each.id: {k: v for k, v in each.allocatable.items() if 0 < v < float("inf")} for each in fleet}
    used = {each.id: {k: v for k, v in each.allocated.items() if 0 < v < float("inf")} for each in fleet}
    for choice in decide(asks, fleet).proposal.selected:
        assert fits(choice.reserve, subtract(clean[choice.target], used[choice.target]))


def test_without_overrides_nothing_differs():
    held = Reservation(
        placement=placement("other"), head=Head(uid="o", generation=1, attempt=1), resources={"cpu": 3.0}
    )
    snapshot = snapshot_of(FLEET, [("root/eu", held)])
    outcome = decide(request(), FLEET, snapshot=snapshot)
    assert not any(choice.forced or choice.over_commit for choice in outcome.proposal.selected)
    assert "forced" not in msgspec.json.encode(outcome.proposal).decode()

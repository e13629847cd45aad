"""What is asked for where overrides hold is what they make of the workload."""

from typing import Any

import pytest

from shared.model.decision import Proposal
from shared.model.request import Request, Variant, WorkloadObject
from tests.unit.scheduler.builders import candidates_of, daemonset, decide, deployment, request, target

BIG = target("big", labels={"size": "big"})
SMALL = target("small")
DIVIDED = {"division": "Weighted"}


def overriding(*workload: WorkloadObject, error: str = "", **more: Any) -> Request:
    """A request for one cpu, and for `workload` where the override for the size `big` holds."""
    spec = {
        "overrides": [{"targetSelector": {"matchLabels": {"size": "big"}}, "patches": [{"op": "remove", "path": "/x"}]}]
    }
    variants = (Variant(overrides=(0,), workload=workload, error=error),) if workload or error else ()
    return request({**spec, **more.pop("spec", {})}, variants=variants, input_digest="d", **more)


def proposed(asked: Request, *targets: Any) -> Proposal:
    return decide(asked, targets).proposal


def reasons(asked: Request, *targets: Any) -> dict[str, str]:
    return {name: each.reason for each in decide(asked, targets).rejections for name in each.targets}


def test_each_target_is_asked_for_what_its_overrides_make_of_the_workload() -> None:
    asked = overriding(deployment(replicas=3, cpu=2.0), spec={"targets": {"all": True}})
    found = {each.target: each.reserve for each in proposed(asked, BIG, SMALL).selected}
    assert found == {"root/big": {"cpu": 6.0, "pods": 3.0}, "root/small": {"cpu": 1.0, "pods": 1.0}}


def test_a_target_without_room_for_what_its_overrides_make_falls_out() -> None:
    assert reasons(overriding(deployment(replicas=50)), BIG, SMALL) == {"root/big": "InsufficientResources"}
    assert reasons(overriding(deployment(gpu=1.0)), BIG, SMALL) == {"root/big": "InsufficientResources"}
    assert reasons(overriding(daemonset(cpu=11.0)), BIG, SMALL) == {"root/big": "InsufficientResources"}


def test_what_only_an_override_needs_is_not_asked_of_other_targets() -> None:
    (chosen,) = proposed(overriding(deployment(gpu=1.0)), SMALL).selected
    assert chosen.reserve == {"cpu": 1.0, "pods": 1.0}


def test_a_quota_is_held_against_what_overrides_make() -> None:
    bound = target("big", labels={"size": "big"}, quotas={"root:shop": {"cpu": 5.0}})
    assert reasons(overriding(deployment(cpu=6.0)), bound, SMALL) == {"root/big": "QuotaExceeded"}


def test_overrides_that_cannot_be_applied_exclude_their_targets_in_words() -> None:
    asked = overriding(error="overrides[0] fits none of the 1 objects")
    assert reasons(asked, BIG, SMALL) == {"root/big": "OverridesUnfit"}
    refusal = proposed(asked, BIG).refusal
    assert refusal is not None
    assert "cannot have it: overrides[0] fits none of the 1 objects" in refusal.message


def test_a_target_whose_overrides_nobody_counted_is_none_for_this_round() -> None:
    """Its labels are new, or there are too many sets of overrides."""
    assert reasons(overriding(), BIG, SMALL) == {"root/big": "OverridesUnfit"}


def test_a_controller_of_the_last_release_counts_no_overrides() -> None:
    old = request({"overrides": [{"patches": [{"op": "remove", "path": "/x"}]}]})
    assert reasons(old, BIG, SMALL) == {}


def test_shares_of_replicas_go_by_the_room_for_what_overrides_make() -> None:
    asked = overriding(
        deployment(replicas=12, cpu=5.0),
        workload=[deployment(replicas=12)],
        spec={"targets": {"count": {"min": 2}}, "replicas": {"division": "Dynamic"}},
    )
    selected = proposed(asked, BIG, SMALL).selected
    assert {each.target: each.replicas for each in selected} == {"root/big": 2, "root/small": 10}
    assert {each.target: each.reserve["cpu"] for each in selected} == {"root/big": 10.0, "root/small": 10.0}


@pytest.mark.parametrize("scorer", ["Resource", "Cost"])
def test_scores_are_of_what_overrides_make(scorer: str) -> None:
    priced = [
        target(name, labels=labels, cost_per_cpu_hour=1.0, cost_per_gib_hour=1.0)
        for name, labels in (("big", {"size": "big"}), ("small", {}))
    ]
    asked = overriding(deployment(cpu=5.0), spec={"strategy": {"scorers": [{"name": scorer}]}})
    scores = {each.target: each.score for each in decide(asked, priced).scores()}
    assert scores["root/big"] < scores["root/small"]


def test_fewer_candidates_keep_what_is_asked_of_each() -> None:
    asked = overriding(deployment(cpu=7.0))
    everyone = candidates_of(asked, [SMALL, BIG])
    rest = everyone.only(everyone.values("id") == "root/big")
    assert rest.demands.at(0).total["cpu"] == 7.0

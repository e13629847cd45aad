"""What is missing where nothing fits: it is said on request alone, and it would do."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import Outcome
from shared.model.decision import Shortfall
from shared.model.request import Request
from shared.model.target import Target
from tests.unit.scheduler.builders import REGION, daemonset, decide, deployment, request, target

REQUEST = {"whenUnfulfilled": "Request"}


def missing(asked: Request, *fleet: Target) -> Shortfall | None:
    outcome = decide(asked, fleet)
    assert outcome.proposal.refusal is not None
    return outcome.proposal.missing


def asking(spec: dict[str, Any], replicas: int = 1, **requests: float) -> Request:
    return request({**REQUEST, **spec}, workload=[deployment(replicas=replicas, **requests)])


def test_nothing_is_said_unless_it_is_asked_for_and_nothing_where_something_fits():
    small = target("small", allocatable={"cpu": 1.0})
    workload = [deployment(cpu=4.0)]
    assert missing(request(workload=workload), small) is None
    assert missing(request(REQUEST, workload=workload), small) == Shortfall(
        targets=1, resources={"cpu": 4.0, "pods": 1.0}
    )
    assert decide(request(REQUEST, workload=workload), [target("large")]).proposal.missing is None


def test_where_each_target_runs_everything_it_is_all_of_it_for_as_many_as_are_too_few():
    asked = asking({"targets": {"count": {"min": 3}}}, replicas=2, cpu=4.0)
    found = missing(asked, target("fits"), target("full", allocatable={"cpu": 7.0, "pods": 9.0}))
    assert found == Shortfall(targets=2, resources={"cpu": 8.0, "pods": 2.0})
    assert missing(asked) == Shortfall(targets=3, resources={"cpu": 8.0, "pods": 2.0})


def test_of_replicas_that_are_divided_it_is_those_that_find_no_room():
    asked = asking({"targets": {"all": True}, "replicas": {"division": "Dynamic"}}, replicas=10, cpu=2.0)
    fleet = [target("a", allocatable={"cpu": 8.0, "pods": 9.0}), target("b", allocatable={"cpu": 5.0, "pods": 9.0})]
    assert missing(asked, *fleet) == Shortfall(targets=1, replicas=4, resources={"cpu": 8.0, "pods": 4.0})


def test_where_no_more_targets_may_be_taken_a_new_one_takes_the_place_of_the_smallest():
    asked = asking({"replicas": {"division": "Dynamic"}}, replicas=10, cpu=2.0)  # in one target
    fleet = [target("a", allocatable={"cpu": 8.0, "pods": 9.0})]
    assert missing(asked, *fleet) == Shortfall(targets=1, replicas=10, resources={"cpu": 20.0, "pods": 10.0})
    two = asking({"targets": {"count": {"min": 1, "max": 2}}, "replicas": {"division": "Dynamic"}}, 10, cpu=2.0)
    fleet = [target("a", allocatable={"cpu": 8.0, "pods": 9.0}), target("b", allocatable={"cpu": 5.0, "pods": 9.0})]
    found = missing(two, *fleet)
    assert found is not None
    assert (found.targets, found.replicas) == (1, 6)


def test_what_a_target_may_have_at_most_takes_more_of_them():
    division = {"division": "Dynamic", "maxPerTarget": 3}
    found = missing(asking({"targets": {"all": True}, "replicas": division}, replicas=10), target("a"))
    assert found is not None
    assert (found.targets, found.replicas) == (3, 3)
    bounded = {"targets": {"count": {"min": 1, "max": 3}}, "replicas": division}
    assert missing(asking(bounded, replicas=10), target("a")) is None, "three targets cannot have ten"


def test_more_targets_are_asked_for_where_those_that_fit_have_room_for_everything():
    spec = {"targets": {"count": {"min": 3}}, "replicas": {"division": "Weighted", "minPerTarget": 2}}
    found = missing(asking(spec, replicas=8), target("a"))
    assert found == Shortfall(targets=2, replicas=2, resources={"cpu": 2.0, "pods": 2.0})


def test_a_tier_takes_all_or_nothing():
    term = {"matchExpressions": [{"key": REGION, "operator": "In", "values": ["east"]}]}
    tiers = [{"name": "east", "required": [term]}, {"name": "any"}]
    spec = {"targets": {"all": True}, "affinity": {"tiers": tiers}, "replicas": {"division": "Dynamic"}}
    found = missing(asking(spec, replicas=12), target("a", region="east"), target("b", allocatable={"cpu": 1.0}))
    assert found is not None
    assert found.replicas == 12


def test_what_runs_on_every_node_is_counted_for_one():
    asked = request(REQUEST, workload=[deployment(cpu=2.0), daemonset(cpu=1.0)])
    assert missing(asked) == Shortfall(targets=1, resources={"cpu": 3.0, "pods": 2.0})


@pytest.mark.parametrize(
    "spec",
    [
        {"targets": {"count": {"min": 3, "max": 3}}, "replicas": {"division": "Dynamic"}},  # for two replicas
        {"strategy": {"scorers": [{"name": "Nonsense"}]}},
    ],
)
def test_where_no_target_would_help_none_is_asked_for(spec):
    assert missing(asking(spec, replicas=2), target("a"), target("b"), target("c")) is None
    assert missing(asking(spec, replicas=2)) is None


seeds = st.integers(0, 2**32)


def make(seed: int) -> tuple[Request, list[Target]]:
    random = Random(seed)
    least = random.randint(1, 4)
    count = {"min": least, "max": least + random.randint(0, 3)}
    per_target = random.choice([{}, {}, {"minPerTarget": 2}, {"maxPerTarget": 3}])
    division = random.choice(["Duplicated", "Weighted", "Dynamic", "Aggregated"])
    spec = {
        "targets": random.choice([{"all": True}, {"count": count}, {"count": {"min": least}}]),
        "replicas": {"division": division, **(per_target if division != "Duplicated" else {})},
        "strategy": {"type": random.choice(["BestFit", "Spread", "Binpack"])},
    }
    workload = [
        deployment(f"w{number}", random.randint(1, 12), cpu=random.choice([0.1, 0.5, 3.0]))
        for number in range(random.randint(1, 2))
    ]
    fleet = [
        target(f"t{number}", allocatable={"cpu": random.choice([0.2, 2.0, 8.0]), "pods": random.choice([2.0, 40.0])})
        for number in range(random.randint(0, 6))
    ]
    running = [(f"root/t{number}", 2) for number in range(random.randint(0, 2))]
    return request({**REQUEST, **spec}, workload=workload, previous=running), fleet


def provided(outcome: Outcome, count: int) -> list[Target]:
    """So many targets with just what is said to be missing."""
    assert outcome.proposal.missing is not None
    resources = outcome.proposal.missing.resources
    return [target(f"new{number}", allocatable=resources) for number in range(count)]


@given(seeds)
def test_it_would_do(seed):
    asked, fleet = make(seed)
    outcome = decide(asked, fleet)
    short = outcome.proposal.missing
    if short is None:
        return
    assert msgspec.json.decode(msgspec.json.encode(short), type=Shortfall) == short
    after = decide(asked, [*fleet, *provided(outcome, short.targets)])
    assert after.proposal.refusal is None, after.proposal.refusal


@given(seeds)
def test_fewer_targets_would_not_do(seed):
    asked, fleet = make(seed)
    outcome = decide(asked, fleet)
    short = outcome.proposal.missing
    if short is None or asked.spec.replicas.max_per_target:
        return
    after = decide(asked, [*fleet, *provided(outcome, short.targets - 1)])
    assert after.proposal.refusal is not None

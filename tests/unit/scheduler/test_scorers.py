"""Each scorer against numbers worked out by hand. Targets have 10 cores, 10 bytes and 100 pods."""

import math
from typing import Any

import numpy as np
import pytest

from services.scheduler.scorers import BadArguments, find
from services.scheduler.scorers.cost import GIB
from shared.api import ZONE_LABEL, Taint
from shared.hub.names import PROVIDER_LABEL
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.target import CustomScore, Target
from tests.unit.scheduler.builders import (
    NOW,
    REGION,
    candidates_of,
    decide,
    deployment,
    placement,
    request,
    target,
)

NAN = math.nan
MOST = {"mode": "MostAllocated"}
BALANCED = {"mode": "BalancedAllocation"}
SHAPE = [{"utilization": 0, "score": 0}, {"utilization": 40, "score": 10}, {"utilization": 100, "score": 0}]
RATIO = {"mode": "RequestedToCapacityRatio", "shape": SHAPE}


def points(name: str, asked: Any, targets: list[Target], args: dict[str, Any] | None = None, **settings: Any) -> Any:
    """One value per target, rounded to 1e-6; None where the scorer abstains."""
    scorer = find(name)
    assert scorer is not None
    column = scorer(candidates_of(asked, targets, **settings), args or {})
    return None if column is None else np.round(column, 6).tolist()


@pytest.mark.parametrize(
    ("args", "requests", "facts", "expected"),
    [
        # cpu (2+2)/10, memory (1+4)/10: 100·(0.6 + 0.5)/2
        ({}, {"cpu": 2.0, "memory": 4.0}, {"allocated": {"cpu": 2.0, "memory": 1.0}}, 55.0),
        ({"resources": [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]},
         {"cpu": 2.0, "memory": 4.0}, {"allocated": {"cpu": 2.0, "memory": 1.0}}, 57.5),
        ({}, {"cpu": 12.0, "memory": 4.0}, {}, 30.0),  # above capacity: 0 for cpu, 60 for memory
        ({}, {"cpu": 2.0}, {"allocatable": {"cpu": 10.0}}, 80.0),  # no memory there: left out
        ({}, {"cpu": 2.0}, {"allocatable": {}}, 0.0),
        ({"resources": [{"name": "cpu"}, {"name": "gpu"}]}, {"cpu": 2.0},
         {"allocatable": {"cpu": 10.0, "gpu": 4.0}}, 80.0),  # an extended resource that the request lacks is skipped
        ({"resources": [{"name": "cpu"}, {"name": "gpu"}]}, {"cpu": 2.0, "gpu": 1.0},
         {"allocatable": {"cpu": 10.0, "gpu": 4.0}}, 77.5),
        (MOST, {"cpu": 2.0, "memory": 4.0}, {"allocated": {"cpu": 2.0, "memory": 1.0}}, 45.0),
        (MOST, {"cpu": 12.0, "memory": 4.0}, {}, 70.0),  # above capacity: 100 for cpu, 40 for memory
        (BALANCED, {"cpu": 4.0, "memory": 4.0}, {}, 75.0),  # as even as before: 50 + (50 + 100 − 100)/2
        (BALANCED, {"cpu": 2.0, "memory": 8.0}, {}, 60.0),  # deviation of 0.2 and 0.8 is 0.3: 50 + (50 + 70 − 100)/2
        (BALANCED, {"cpu": 6.0}, {"allocated": {"memory": 6.0}}, 90.0),  # evens out 0 and 0.6: 50 + (50 + 100 − 70)/2
        (BALANCED, {"cpu": 20.0, "memory": 5.0}, {}, 62.5),  # at most 1 each: deviation of 1 and 0.5
        (BALANCED, {"cpu": 2.0}, {"allocatable": {}}, 75.0),
        ({**BALANCED, "resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "gpu"}]},
         {"cpu": 2.0, "memory": 4.0, "gpu": 6.0}, {"allocatable": {"cpu": 10.0, "memory": 10.0, "gpu": 10.0}},
         50 + (50 - 100 * math.sqrt(0.08 / 3)) / 2),
        (RATIO, {"cpu": 2.0, "memory": 4.0}, {}, 75.0),  # 20 % is half way to 10, 40 % is 10: (50 + 100)/2
        (RATIO, {"cpu": 10.0, "memory": 4.0}, {}, 100.0),  # cpu scores 0 and is left out, as kube-scheduler does
        (RATIO, {"cpu": 10.0, "memory": 10.0}, {}, 0.0),
        (RATIO, {"cpu": 2.0}, {"allocatable": {"cpu": 10.0}}, 50.0),  # no memory there: left out
        ({**RATIO, "shape": [{"utilization": 50, "score": 8}]}, {"cpu": 2.0}, {"allocatable": {}}, 0.0),
    ],
)  # fmt: skip
def test_resource(args, requests, facts, expected) -> None:
    asked = request(workload=[deployment(**requests)])
    assert points("Resource", asked, [target("t", **facts)], args) == [pytest.approx(expected, abs=1e-6)]


def test_resource_scores_an_even_share_where_replicas_are_divided() -> None:
    spec = {"replicas": {"division": "Dynamic"}, "targets": {"count": {"min": 1, "max": 3}}}
    asked = request(spec, workload=[deployment(replicas=7, cpu=1.0, memory=1.0)])
    assert points("Resource", asked, [target("a"), target("b"), target("c"), target("d")]) == [70.0] * 4  # 3 of 10


def test_amount_lies_between_the_least_and_the_most_of_all_candidates() -> None:
    fleet = [
        target("a", allocatable={"cpu": 10.0, "gpu": 2.0}),
        target("b", allocatable={"cpu": 20.0, "gpu": 2.0}, allocated={"cpu": 15.0}),
        target("c", allocatable={"cpu": 40.0}, allocated={"cpu": 20.0}),
    ]
    assert points("Amount", request(), fleet, {"of": "Allocatable"}) == [0.0, 33.333333, 100.0]
    assert points("Amount", request(), fleet) == [33.333333, 0.0, 100.0]  # 10, 5 and 20 are free
    assert points("Amount", request(), fleet, {"resource": "gpu"}) == [100.0, 100.0, pytest.approx(NAN, nan_ok=True)]
    assert points("Amount", request(), fleet, {"resource": "fpga"}) is None


def test_with_a_negative_weight_the_least_is_best() -> None:
    fleet = [target("a", allocatable={"cpu": 10.0, "pods": 9.0}), target("b", allocatable={"cpu": 20.0, "pods": 9.0})]
    for weight, best in ((1, "root/b"), (-1, "root/a")):
        spec = {"strategy": {"scorers": [{"name": "Amount", "weight": weight}]}}
        (choice,) = decide(request(spec), fleet).proposal.selected
        assert (choice.target, choice.score) == (best, 100.0)


def test_resource_prefers_full_targets_for_binpack() -> None:
    asked = request({"strategy": {"type": "Binpack"}}, workload=[deployment(cpu=1.0, memory=3.0)])
    assert points("Resource", asked, [target("t")]) == [20.0]


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("Resource", {"mode": "Least"}, "mode must be one of"),
        ("Resource", {"resources": "cpu"}, "resources must be a list"),
        ("Resource", {"resources": []}, "resources must be a list"),
        ("Resource", {"resources": [{"name": "cpu", "weight": 0}]}, "a weight must be above 0"),
        ("Resource", {"resources": [{"name": "cpu", "weight": 101}]}, "at most 100"),
        ("Resource", {"resources": [{"name": "cpu", "weight": "1"}]}, "weight must be a number, not '1'"),
        ("Resource", {"mode": "RequestedToCapacityRatio"}, "needs a shape"),
        ("Resource", {**RATIO, "shape": [{"utilization": 50, "score": 1}, {"utilization": 20, "score": 1}]}, "ascend"),
        ("Resource", {**RATIO, "shape": [{"utilization": 50, "score": 11}]}, "score must be within 0..10"),
        ("Latency", {"from": []}, "from must be the name"),
        ("Latency", {"cutoff": True}, "cutoff must be a number"),
        ("Latency", {"tolerance": "near"}, "tolerance must be a number"),
        ("Latency", {"cutoff": math.nan}, "cutoff must be a number, not nan"),
        ("Affinity", {"taintPenalty": math.inf}, "taintPenalty must be a number, not inf"),
        ("Locality", {"near": {"zone": 1}}, "near must map labels to values"),
        ("Amount", {"resource": 1}, "resource must be the name of one"),
        ("Amount", {"of": "Used"}, "of must be one of Free, Allocatable"),
        ("Spread", {"topologyKey": 1}, "topologyKey must be a label"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(name, args, message) -> None:
    with pytest.raises(BadArguments, match=message):
        points(name, request(), [target("t")], args)


def test_affinity_is_the_share_of_preferred_weight_less_a_penalty_per_taint() -> None:
    def term(weight: int, value: str) -> dict[str, Any]:
        return {"weight": weight, "matchExpressions": [{"key": "tier", "operator": "In", "values": [value]}]}

    asked = request({"affinity": {"preferred": [term(30, "gold"), term(10, "any")]}})
    spot = Taint(key="spot", effect="PreferNoSchedule")
    fleet = [target("a", labels={"tier": "gold"}), target("b", labels={"tier": "any"}, taints=(spot,)), target("c")]
    assert points("Affinity", asked, fleet) == [75.0, 0.0, 0.0]  # b: 25 − 25
    assert points("Affinity", asked, fleet, {"taintPenalty": 10}) == [75.0, 15.0, 0.0]


def test_affinity_without_terms_counts_taints_that_are_not_tolerated_or_abstains() -> None:
    spot = Taint(key="spot", effect="PreferNoSchedule")
    fleet = [target("a"), target("b", taints=(spot, Taint(key="old", effect="PreferNoSchedule")))]
    assert points("Affinity", request(), fleet) == [100.0, 50.0]
    tolerant = request({"targets": {"tolerations": [{"operator": "Exists"}]}})
    assert points("Affinity", tolerant, fleet) is None


def test_load_is_that_of_the_busiest_resource_and_unknown_without_metrics() -> None:
    fleet = [
        target("a", usage={"cpu": 2.0, "memory": 7.0, "pods": 10.0}),
        target("b", usage={"cpu": 2.0}),
        target("c"),
        target("over", usage={"cpu": 15.0}),
    ]
    assert points("Load", request(), fleet) == pytest.approx([30.0, 80.0, NAN, -50.0], nan_ok=True)


def test_latency_falls_from_the_nearest_to_the_cut_off() -> None:
    fleet = [
        target("a", latency={"hub": 20.0}),
        target("b", latency={"hub": 90.0}),
        target("c"),
        target("d", latency={"hub": 400.0}),
    ]
    # b: (300 − 90)/(300 − 20) of 100
    exactly = {"tolerance": 0}
    assert points("Latency", request(), fleet, exactly) == pytest.approx([100.0, 75.0, NAN, 0.0], nan_ok=True)
    assert points("Latency", request(), fleet, exactly | {"cutoff": 160})[1] == 50.0
    assert points("Latency", request(), fleet, exactly | {"cutoff": 10})[:2] == [0.0, 0.0]
    assert points("Latency", request(), fleet, origin="nowhere") is None


def test_latency_from_several_origins_is_their_mean() -> None:
    fleet = [
        target("a", latency={"x": 0.0, "y": 100.0}),
        target("b", latency={"x": 100.0, "y": 250.0}),
        target("c", latency={"x": 1.0}),
    ]
    args = {"from": ["x", "y"], "tolerance": 0}
    assert points("Latency", request(), fleet, args) == pytest.approx([100.0, 50.0, NAN], nan_ok=True)


def test_a_target_that_is_hardly_further_than_the_nearest_is_as_good() -> None:
    fleet = [target(f"t{n}", latency={"hub": n}) for n in (20.0, 23.0, 30.0, 165.0, 300.0)]
    assert points("Latency", request(), fleet) == [100.0, 100.0, 100.0, 50.0, 0.0]
    assert points("Latency", request(), fleet, {"tolerance": 145})[-2:] == [100.0, 0.0]
    assert points("Latency", request(), fleet, {"tolerance": 1000, "cutoff": 200}) == [100.0] * 4 + [0.0]


@pytest.mark.parametrize(
    ("odd", "expected"), [(1e308, 0.0), (math.inf, 0.0), (-math.inf, NAN), (-1.0, NAN), (NAN, NAN)]
)
def test_an_absurd_latency_is_far_away_and_a_negative_one_is_unknown(odd: float, expected: float) -> None:
    fleet = [target("near", latency={"x": 20.0, "y": 20.0}), target("odd", latency={"x": odd, "y": 1e308})]
    assert points("Latency", request(), fleet, {"from": ["x", "y"]}) == pytest.approx([100.0, expected], nan_ok=True)


def test_locality_falls_from_zone_to_provider() -> None:
    labels = {ZONE_LABEL: "eu-1a", REGION: "eu-1", PROVIDER_LABEL: "acme"}
    fleet = [
        target("zone", labels=labels),
        target("region", labels={REGION: "eu-1"}),
        target("provider", labels={PROVIDER_LABEL: "acme"}),
        target("else"),
    ]
    expected = [100.0, 66.666667, 33.333333, 0.0]
    assert points("Locality", request(labels=labels), fleet) == expected
    assert points("Locality", request(), fleet, {"near": {REGION: "eu-1"}}) == [100.0, 100.0, 0.0, 0.0]
    assert points("Locality", request(), fleet) is None


def test_cost_compares_with_the_cheapest() -> None:
    asked = request(workload=[deployment(replicas=2, cpu=1.0, memory=2 * GIB)])
    fleet = [
        target("a", cost_per_cpu_hour=0.01, cost_per_gib_hour=0.01),  # 0.06
        target("b", cost_per_cpu_hour=0.04, cost_per_gib_hour=0.01),  # 0.12
        target("c"),
    ]
    assert points("Cost", asked, fleet) == pytest.approx([100.0, 50.0, NAN], nan_ok=True)
    assert points("Cost", asked, fleet[2:]) is None
    free = target("free", cost_per_cpu_hour=0.0, cost_per_gib_hour=0.0)
    assert points("Cost", asked, [free, *fleet[:1]]) == [100.0, 0.0]
    dear, endless = (
        target("dear", cost_per_cpu_hour=1e308, cost_per_gib_hour=1e308),
        target("endless", cost_per_cpu_hour=math.inf, cost_per_gib_hour=0.0),
    )
    assert points("Cost", asked, [*fleet[:1], dear, endless]) == [100.0, 0.0, 0.0]
    assert points("Cost", asked, [dear, endless]) is None
    idle = request(workload=[deployment(memory=GIB)])
    assert points("Cost", idle, [endless, *fleet[:1]]) == pytest.approx([NAN, 100.0], nan_ok=True)


def test_steady_favours_where_it_runs_and_abstains_at_first() -> None:
    assert points("Steady", request(previous=["root/b", "root/gone"]), [target("a"), target("b")]) == [0.0, 100.0]
    assert points("Steady", request(), [target("a")]) is None


def test_spread_favours_domains_with_fewer_placements_of_the_namespace() -> None:
    fleet = [target("a", region="x"), target("b", region="y"), target("c", region="y"), target("d")]
    asked = candidates_of(request(), fleet)
    head = Head(uid="u", generation=1, attempt=1)
    for name, where in (("web", "a"), ("p", "a"), ("p", "b"), ("q", "c"), ("q", "gone")):
        reservation = Reservation(placement=placement(name), head=head, resources={"cpu": 1.0})
        asked.snapshot.reserve(f"root/{where}", reservation)
    spread = find("Spread")
    assert spread is not None
    column = spread(asked, {})
    assert column is not None
    assert column.tolist() == [50.0, 0.0, 0.0, 100.0]  # x holds p; y holds p and q; web itself does not count


def test_custom_scores_abstain_when_they_are_missing_or_expired() -> None:
    fleet = [
        target("a", scores={"carbon": CustomScore(value=40.0)}),
        target("b", scores={"carbon": CustomScore(value=60.0, valid_until=NOW + 1)}),
        target("c", scores={"carbon": CustomScore(value=80.0, valid_until=NOW)}),
        target("d"),
    ]
    assert points("Custom:carbon", request(), fleet) == pytest.approx([40.0, 60.0, NAN, NAN], nan_ok=True)


def test_custom_without_a_name_is_no_scorer() -> None:
    assert find("Custom:") is None
    assert find("Nope") is None

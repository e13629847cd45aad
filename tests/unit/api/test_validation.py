"""What a Placement gets wrong beyond its schema is said in one sentence each, with the path."""

import pytest

from shared.api import (
    Affinity,
    AffinityRequirement,
    LabelSelector,
    Placement,
    PlacementAffinityTerm,
    PlacementSpec,
    PreferredTerm,
    Replicas,
    ReplicaWeight,
    Rule,
    ScorerWeight,
    SpreadConstraint,
    Strategy,
    decode_placement,
    validate_placement,
)

SCORERS = "Resource, Affinity, Load, Latency, Locality, Cost, Amount, Steady, Spread, Custom:<name>, Plugin:<name>"
WITHOUT_VALUES = {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}
NO_VALUE = "matchExpressions[0].values: must name at least one value for NotIn."
WORKLOAD = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]


def findings(**spec):
    return validate_placement(decode_placement({"spec": {"workload": WORKLOAD, **spec}}))


def manifest(**extra):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, **extra}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"workload": [], "manifests": [manifest()]},
        {"workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": {}}]},
        {"workload": [{"all": True, "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}]},
        {"targets": {"all": True}},
        {"targets": {"count": {"min": 2, "max": 2}, "tolerations": [{"operator": "Exists"}]}},
        {"strategy": {"scorers": [{"name": "Resource", "weight": 0}, {"name": "Custom:carbon"}]}},
        {"strategy": {"scorers": [{"name": "Plugin:renewable"}]}},
        {"targets": {"count": {"min": "20%", "max": "20%"}}},
        {"targets": {"count": {"min": 0}}},
        {"targets": {"count": {"min": 0, "max": 0}}},
        {"targets": {"count": {"min": 50, "max": "1%"}}},
        {"affinity": {"tiers": [{"name": "any"}, {"name": "other"}]}},
        {"replicas": {"division": "Dynamic", "minPerTarget": 2, "maxPerTarget": 2}},
        {"spread": [{"topologyKey": "region", "minDomains": 2, "maxDomains": 2}, {"topologyKey": "zone"}]},
        {"overrides": [{"patches": [{"op": "add", "path": "", "value": None}]}]},
        {"replicas": {"division": "Weighted", "weights": [{"target": {"name": "a"}, "weight": 0}]}},
    ],
)
def test_a_sound_placement_has_no_findings(spec):
    assert findings(**spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"workload": []}, "spec: workload or manifests must name something to place."),
        (
            {"workload": [{"apiVersion": "v1", "kind": "Pod"}]},
            "spec.workload[0]: exactly one of name and labelSelector must be given.",
        ),
        (
            {"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "labelSelector": {}}]},
            "spec.workload[0]: exactly one of name and labelSelector must be given.",
        ),
        (
            {"workload": [{"labelSelector": {}}]},
            "spec.workload[0]: apiVersion and kind must be given, or all and a labelSelector in place of them.",
        ),
        (
            {"workload": [{"all": True, "kind": "Pod", "labelSelector": {"matchLabels": {"a": "b"}}}]},
            "spec.workload[0]: all takes every common kind: apiVersion, kind and name must not be given with it.",
        ),
        (
            {"workload": [{"all": True, "labelSelector": {}}]},
            "spec.workload[0].labelSelector: all takes what has some label: one must be named.",
        ),
        (
            {"manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}]},
            "spec.manifests[0]: apiVersion, kind and metadata.name must be given.",
        ),
        (
            {"manifests": [manifest(), {"metadata": "none"}]},
            "spec.manifests[1]: apiVersion, kind and metadata.name must be given.",
        ),
        ({"targets": {"all": True, "count": {"min": 2}}}, "spec.targets: all and count exclude each other."),
        ({"targets": {"count": {"min": 3, "max": 2}}}, "spec.targets.count: min 3 must not be above max 2."),
        (
            {"targets": {"count": {"min": 0, "max": 2}}},
            "spec.targets.count: min 0 goes with no max above 0; where one target will do, min is 1.",
        ),
        (
            {"targets": {"count": {"min": "30%", "max": "4%"}}},
            "spec.targets.count: min 30% must not be above max 4%.",
        ),
        (
            {"affinity": {"tiers": [{"name": "a"}, {"name": "a"}]}},
            "spec.affinity.tiers: name 'a' is given 2 times, it must be unique.",
        ),
        (
            {"affinity": {"tiers": [{"name": "a", "required": [WITHOUT_VALUES]}]}},
            f"spec.affinity.tiers[0].required[0].{NO_VALUE}",
        ),
        (
            {"replicas": {"division": "Dynamic", "minPerTarget": 3, "maxPerTarget": 2}},
            "spec.replicas: minPerTarget 3 must not be above maxPerTarget 2.",
        ),
        (
            {"replicas": {"maxPerTarget": 2}},
            "spec.replicas: minPerTarget and maxPerTarget need replicas that are divided.",
        ),
        (
            {"targets": {"tolerations": [{"value": "x"}]}},
            "spec.targets.tolerations[0]: operator must be Exists when key is empty.",
        ),
        (
            {"targets": {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}},
            "spec.targets.tolerations[0]: value must be empty when operator is Exists.",
        ),
        (
            {"targets": {"tolerations": [{"key": "a", "operator": "Gt", "value": "05"}]}},
            "spec.targets.tolerations[0]: value must be a whole number, as people write it, for Gt and Lt.",
        ),
        (
            {"targets": {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]}},
            "spec.targets.tolerations[0]: tolerationSeconds goes with the effect NoExecute only.",
        ),
        (
            {"targets": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
            "spec.targets.selector.matchExpressions[0].values: must name at least one value for In.",
        ),
        (
            {
                "targets": {
                    "workspaces": {
                        "selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}
                    }
                }
            },
            "spec.targets.workspaces.selector.matchExpressions[0].values: must be empty for Exists.",
        ),
        (
            {"affinity": {"required": [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1", "2"]}]}]}},
            "spec.affinity.required[0].matchExpressions[0].values: must hold exactly one integer for Gt.",
        ),
        (
            {"affinity": {"preferred": [{"matchExpressions": [{"key": "a", "operator": "Lt", "values": ["few"]}]}]}},
            "spec.affinity.preferred[0].matchExpressions[0].values: 'few' is no integer, which Lt needs.",
        ),
        (
            {"affinity": {"placementAffinity": [{"selector": WITHOUT_VALUES, "topologyKey": "zone"}]}},
            f"spec.affinity.placementAffinity[0].selector.{NO_VALUE}",
        ),
        (
            {"spread": [{"topologyKey": "zone", "minDomains": 3, "maxDomains": 2}]},
            "spec.spread[0]: minDomains 3 must not be above maxDomains 2.",
        ),
        (
            {"spread": [{"topologyKey": "zone"}, {"topologyKey": "zone"}]},
            "spec.spread: topologyKey 'zone' is given 2 times, it must be unique.",
        ),
        (
            {"strategy": {"scorers": [{"name": "Ressource"}]}},
            f"spec.strategy.scorers[0].name: 'Ressource' is no known scorer; known are {SCORERS}.",
        ),
        (
            {"strategy": {"scorers": [{"name": "Custom:"}]}},
            f"spec.strategy.scorers[0].name: 'Custom:' is no known scorer; known are {SCORERS}.",
        ),
        (
            {"strategy": {"scorers": [{"name": "Load"}, {"name": "Load"}]}},
            "spec.strategy.scorers: name 'Load' is given 2 times, it must be unique.",
        ),
        (
            {"policies": [{"name": "a", "expression": " "}]},
            "spec.policies[0].expression: must not be blank.",
        ),
        (
            {"policies": [{"name": "a", "expression": "true", "message": "b", "messageExpression": "'c'"}]},
            "spec.policies[0]: message and messageExpression exclude each other.",
        ),
        (
            {"policies": [{"name": "a", "expression": "true"}] * 3},
            "spec.policies: name 'a' is given 3 times, it must be unique.",
        ),
        (
            {"replicas": {"weights": [{"weight": 1}]}},
            "spec.replicas.weights[0]: exactly one of selector and target must be given.",
        ),
        (
            {"overrides": [{"patches": [{"op": "replace", "path": "/a"}]}]},
            "spec.overrides[0].patches[0].value: must be given for replace.",
        ),
        (
            {"overrides": [{"patches": [{"op": "copy", "path": "/a"}]}]},
            "spec.overrides[0].patches[0].from: must be given for copy.",
        ),
        (
            {"overrides": [{"patches": [{"op": "remove", "path": "spec/a"}]}]},
            "spec.overrides[0].patches[0].path: 'spec/a' is no JSON Pointer, it must begin with a slash.",
        ),
        (
            {
                "overrides": [
                    {
                        "targetSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn"}]},
                        "patches": [{"op": "remove", "path": "/a"}],
                    }
                ]
            },
            "spec.overrides[0].targetSelector.matchExpressions[0].values: must name at least one value for NotIn.",
        ),
    ],
)
def test_each_mistake_is_one_sentence_with_its_path(spec, expected):
    assert findings(**spec) == [expected]


def test_manifests_are_bounded_in_size():
    (finding,) = findings(manifests=[manifest(data={"blob": "x" * 300_000})])
    assert finding.startswith("spec.manifests: 300")
    assert finding.endswith("bytes are more than the 262144 that fit inline.")


def test_a_plugin_that_is_named_by_the_old_prefix_is_refused_with_the_new_one():
    (finding,) = findings(strategy={"scorers": [{"name": "Bus:renewable"}]})
    assert finding.endswith(f"'Bus:renewable' is no known scorer; known are {SCORERS}.")


def test_known_scorers_are_the_callers():
    placement = decode_placement({"spec": {"workload": WORKLOAD, "strategy": {"scorers": [{"name": "Resource"}]}}})
    assert validate_placement(placement, known_scorers=["Load"]) == [
        "spec.strategy.scorers[0].name: 'Resource' is no known scorer; known are Load, Custom:<name>, Plugin:<name>."
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_fields():
    paths = [
        finding.split(":")[0]
        for finding in validate_placement(
            decode_placement(
                {
                    "spec": {
                        "targets": {"count": {"min": 2, "max": 1}},
                        "spread": [{"topologyKey": "zone", "minDomains": 2, "maxDomains": 1}],
                        "strategy": {"scorers": [{"name": "Nope"}]},
                    }
                }
            )
        )
    ]
    assert paths == ["spec", "spec.targets.count", "spec.spread[0]", "spec.strategy.scorers[0].name"]


def test_what_was_built_in_code_is_held_to_the_bounds_of_the_schema():
    """Only decoding checks a schema's bounds, and structs may also be built in code."""
    anything = LabelSelector()
    exists = (AffinityRequirement(key="a", operator="Exists"),)
    spec = PlacementSpec(
        manifests=(manifest(),),
        affinity=Affinity(
            preferred=(PreferredTerm(match_expressions=exists, weight=-1),),
            placement_affinity=(PlacementAffinityTerm(selector=anything, topology_key=""),),
        ),
        spread=(SpreadConstraint(topology_key=""),),
        strategy=Strategy(scorers=(ScorerWeight(name="Load", weight=-1001.0),)),
        policies=(Rule(name="a", expression="true", weight=-1),),
        replicas=Replicas(weights=(ReplicaWeight(selector=anything, weight=-1),)),
    )
    assert validate_placement(Placement(spec=spec)) == [
        "spec.affinity.preferred[0].weight: must not be negative.",
        "spec.affinity.placementAffinity[0].topologyKey: must be given.",
        "spec.spread[0].topologyKey: must be given.",
        "spec.strategy.scorers[0].weight: must be a number from -1000 to 1000.",
        "spec.policies[0].weight: must not be negative.",
        "spec.replicas.weights[0].weight: must not be negative.",
    ]

"""The CEL rules of the CRDs and of the admission policies, evaluated by a CEL implementation that type-checks them."""

import json

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

from shared.api import (
    AffinityRequirement,
    Count,
    LabelRequirement,
    ParamRef,
    PatchOperation,
    PlacementOverrideSpec,
    PlacementPolicySpec,
    PlacementQuotaSpec,
    PlacementSpec,
    PolicyExceptionSpec,
    Quota,
    Replicas,
    ReplicaWeight,
    Rule,
    SpreadConstraint,
    StateRule,
    SyncTargetSpec,
    Targets,
    Toleration,
    WorkloadKindSpec,
    WorkloadSelector,
    decode_placement,
    validate_placement,
)
from shared.api.generate.schema import object_schema
from shared.api.resources import RESOURCES

ENVIRONMENT = cel.NewEnv(
    variables=dict.fromkeys(("self", "oldSelf", "request", "object", "oldObject", "variables"), cel.Type.DYN),
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)


def evaluate(expression, **data):
    return ENVIRONMENT.compile(expression).eval(data=data).plain_value()


WAS = {PlacementQuotaSpec: {"workspace": "a", "namespace": "b"}}
"""What was there before, where a rule compares with that."""

# What each rule of a struct admits (first) and refuses (second), in the order in which the struct declares them.
CASES = {
    LabelRequirement: [
        ({"operator": "In", "values": ["a"]}, {"operator": "NotIn"}),
        ({"operator": "Exists"}, {"operator": "DoesNotExist", "values": ["a"]}),
    ],
    AffinityRequirement: [
        ({"operator": "Gt", "values": ["1"]}, {"operator": "In", "values": []}),
        ({"operator": "Exists", "values": []}, {"operator": "Exists", "values": ["a"]}),
        ({"operator": "Lt", "values": ["1"]}, {"operator": "Gt", "values": ["1", "2"]}),
    ],
    Toleration: [
        ({"operator": "Exists"}, {"operator": "Equal", "key": ""}),
        ({"operator": "Exists", "value": ""}, {"operator": "Exists", "value": "a"}),
        ({"effect": "NoExecute", "tolerationSeconds": 1}, {"effect": "NoSchedule", "tolerationSeconds": 1}),
        ({"operator": "Gt", "key": "a", "value": "-7"}, {"operator": "Lt", "key": "a", "value": "07"}),
    ],
    SyncTargetSpec: [({"agent": {}, "kubeconfigSecretRef": {}}, {"clusterProfileRef": {}, "agent": {}})],
    PlacementPolicySpec: [
        ({"providers": ["root:p"]}, {}),
    ],
    ParamRef: [({"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "Secret"})],
    PolicyExceptionSpec: [
        ({"match": {"namespaces": ["shop"]}}, {"match": {"excludedNamespaces": ["shop"]}}),
        ({"match": {}}, {"match": {"workspaceSelector": {}}}),
    ],
    WorkloadKindSpec: [
        ({"group": "shop.io"}, {"group": "autoscaling.k8s.io"}),
        (
            {"pods": [{"template": "spec.template"}], "replicas": "spec.replicas"},
            {"pods": [{"template": "a", "counts": [{"path": "b"}]}], "replicas": "spec.replicas"},
        ),
        ({"replicas": "a", "ready": "b"}, {"ready": "b"}),
        ({"onEveryNode": True}, {"onEveryNode": True, "replicas": "a"}),
    ],
    StateRule: [({"condition": "Ready"}, {"condition": "Ready", "path": "status.phase"})],
    Quota: [({"hard": {"cpu": 1, "nvidia.com/gpu": "2"}}, {"hard": {"cpu": 1, "requests.cpu": 1}})],
    Rule: [({"message": "a"}, {"message": "a", "messageExpression": "b"})],
    WorkloadSelector: [
        ({"labelSelector": {}}, {"name": "a", "labelSelector": {}}),
        ({"apiVersion": "v1", "kind": "Pod", "all": False}, {"all": True, "kind": "Pod"}),
        ({"all": True, "labelSelector": {"matchLabels": {"a": "b"}}}, {"all": True, "labelSelector": {}}),
    ],
    Count: [({"min": 2, "max": 2}, {"min": 3, "max": 2}), ({"min": 0, "max": 0}, {"min": 0, "max": "10%"})],
    Replicas: [
        ({"minPerTarget": 2, "maxPerTarget": 2}, {"minPerTarget": 3, "maxPerTarget": 2}),
        ({"division": "Weighted", "minPerTarget": 2}, {"division": "Duplicated", "maxPerTarget": 2}),
    ],
    Targets: [({"all": False, "count": {}}, {"all": True, "count": {}})],
    SpreadConstraint: [({"minDomains": 2, "maxDomains": 2}, {"minDomains": 3, "maxDomains": 2})],
    ReplicaWeight: [({"target": {}}, {})],
    PatchOperation: [({"op": "move", "from": "/a"}, {"op": "copy"})],
    PlacementSpec: [({"manifests": [{}]}, {"workload": []})],
    PlacementOverrideSpec: [
        ({"placementRef": {}}, {"placementRef": {}, "placementSelector": {}}),
        ({"reason": "a"}, {"reason": " \n"}),
        ({"type": "Force", "overCommit": True}, {"type": "Exclude", "overCommit": True}),
    ],
    PlacementQuotaSpec: [
        ({"hard": {"cpu": "1"}}, {"hard": {}}),
        ({"hard": {"cpu": "1", "nvidia.com/gpu": 2, "hugepages-2Mi": "4Mi"}}, {"hard": {"requests.cpu": "1"}}),
        ({"hard": {"example.com/" + "x" * 116: "1"}}, {"hard": {"example.com/" + "x" * 117: "1"}}),
        (WAS[PlacementQuotaSpec], {"workspace": "b"}),
    ],
}


@pytest.mark.parametrize("struct", CASES, ids=lambda struct: struct.__name__)
def test_a_rule_admits_what_is_sound_and_refuses_what_contradicts(struct):
    for validation, (sound, contradicting) in zip(struct.validations, CASES[struct], strict=True):
        assert evaluate(validation.rule, self=sound, oldSelf=WAS.get(struct)) is True, validation.message
        assert evaluate(validation.rule, self=contradicting, oldSelf=WAS.get(struct)) is False, validation.message


IN_A_PLACEMENT = {
    LabelRequirement: lambda part: {"targets": {"selector": {"matchExpressions": [{"key": "a", **part}]}}},
    AffinityRequirement: lambda part: {"affinity": {"required": [{"matchExpressions": [{"key": "a", **part}]}]}},
    Toleration: lambda part: {"targets": {"tolerations": [part]}},
    WorkloadSelector: lambda part: {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", **part}]},
    Count: lambda part: {"targets": {"count": part}},
    Replicas: lambda part: {"replicas": part},
    Targets: lambda part: {"targets": part},
    SpreadConstraint: lambda part: {"spread": [{"topologyKey": "a", **part}]},
    ReplicaWeight: lambda part: {"replicas": {"division": "Weighted", "weights": [part]}},
    PatchOperation: lambda part: {"overrides": [{"patches": [{"path": "/b", **part}]}]},
    PlacementSpec: lambda part: part,
}


@pytest.mark.parametrize("struct", IN_A_PLACEMENT, ids=lambda struct: struct.__name__)
def test_what_a_rule_refuses_in_a_placement_is_refused_without_an_api_server_too(struct):
    workload = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}]
    for _, contradicting in CASES[struct]:
        spec = {"workload": workload, **IN_A_PLACEMENT[struct](contradicting)}
        placement = {"kind": "Placement", "metadata": {"name": "a", "namespace": "b"}, "spec": spec}
        assert validate_placement(decode_placement(placement)), contradicting


@pytest.mark.parametrize(
    "count", [{"min": "50%", "max": 2}, {"min": 5, "max": "10%"}, {"min": "9%", "max": "10%"}, {"min": 7}]
)
def test_a_number_and_a_percentage_are_not_compared_before_targets_are_known(count):
    assert all(evaluate(validation.rule, self=count) is True for validation in Count.validations)


def test_every_rule_of_the_schemas_is_tried():
    text = json.dumps([object_schema(resource.kind) for resource in RESOURCES])
    tried = {validation.rule for struct in CASES for validation in struct.validations}
    assert text.count('"rule"') > len(tried)
    assert tried == {validation["rule"] for validation in _validations(json.loads(text))}


def _validations(node):
    if isinstance(node, list):
        for child in node:
            yield from _validations(child)
    elif isinstance(node, dict):
        if isinstance(node.get("x-kubernetes-validations"), list):
            yield from node["x-kubernetes-validations"]
        for child in node.values():
            yield from _validations(child)

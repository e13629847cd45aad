"""The examples are sound: they fit their CRDs and the model, and they fit each other and the demo's world."""

import jsonschema_rs
import pytest
import yaml

from shared.api import (
    API_VERSION,
    KINDS,
    REGION_LABEL,
    ZONE_LABEL,
    Placement,
    SyncTarget,
    decode,
    matches,
    to_dict,
    validate_placement,
)
from shared.api.generate.__main__ import ROOT
from shared.api.generate.schema import object_schema
from shared.hub.names import PROVIDER_LABEL
from shared.hub.selecting import of_kinds

EXAMPLES = ROOT / "examples"
LIBRARY = {"cost-ceiling", "maintenance-windows", "minimum-version", "no-spot-for-stateful", "tenant-separation"}
"""Policies that the demo does without."""
WORLD = yaml.safe_load((EXAMPLES / "world.yaml").read_text())
FILES = sorted(
    path for path in EXAMPLES.rglob("*.yaml") if path.name not in ("world.yaml", "clusters.yaml", "users.yaml")
)
OBJECTS = [(path, document) for path in FILES for document in yaml.safe_load_all(path.read_text())]
OURS = [
    pytest.param(document, id=document["metadata"]["name"])
    for _, document in OBJECTS
    if document["apiVersion"] == API_VERSION
]
PLACEMENTS = [decode(Placement, param.values[0]) for param in OURS if param.values[0]["kind"] == "Placement"]


def of_kind(kind, folder=""):
    return [document for path, document in OBJECTS if document["kind"] == kind and folder in (*path.parts, "")]


def pod_spec(workload):
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"]


WORKLOADS = [workload for kind in ("Deployment", "StatefulSet", "CronJob", "Job") for workload in of_kind(kind)]


@pytest.mark.parametrize("document", OURS)
def test_an_example_fits_its_crd_and_the_model(document):
    kind = KINDS[document["kind"]]
    jsonschema_rs.validator_for(object_schema(kind)).validate(document)
    decoded = decode(kind, document)
    assert to_dict(decoded)["metadata"] == document["metadata"]
    if isinstance(decoded, Placement):
        assert validate_placement(decoded) == []


@pytest.mark.parametrize("document", OURS)
def test_an_example_uses_no_field_that_would_be_pruned(document):
    assert _unknown(object_schema(KINDS[document["kind"]]), document, "$") == []


def _unknown(schema, value, path):
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == "$.metadata":
        return []
    if isinstance(value, list):
        return [found for item in value for found in _unknown(schema["items"], item, f"{path}[]")]
    if not isinstance(value, dict):
        return []
    known = schema.get("properties", {})
    every = schema.get("additionalProperties")
    unknown = [f"{path}.{name}" for name in value if name not in known and every is None]
    return unknown + [
        found
        for name, child in value.items()
        if name in known or every is not None
        for found in _unknown(known.get(name, every), child, f"{path}.{name}")
    ]


def test_the_web_shop_is_a_real_one():
    deployments = of_kind("Deployment", "webshop")
    assert len(deployments) >= 10
    for kind in ("Service", "ConfigMap", "Secret"):
        assert len(of_kind(kind, "webshop")) >= 3
    for deployment in deployments:
        labels = deployment["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "webshop"
        assert labels["app.kubernetes.io/name"] == deployment["metadata"]["name"]
        assert labels["tier"] in {"frontend", "backend", "payments", "async"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])
def test_every_container_says_what_it_needs(workload):
    for container in pod_spec(workload)["containers"]:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("deployment", of_kind("Deployment"), ids=lambda workload: workload["metadata"]["name"])
def test_a_deployment_selects_its_own_pods(deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])
def test_what_a_workload_references_exists_in_its_namespace(workload):
    namespace = workload["metadata"]["namespace"]
    present = {
        (document["kind"], document["metadata"]["name"])
        for _, document in OBJECTS
        if document["metadata"].get("namespace") == namespace
    }
    assert set(_references(pod_spec(workload))) <= present


def _references(pod):
    if "serviceAccountName" in pod:
        yield "ServiceAccount", pod["serviceAccountName"]
    for volume in pod.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    sources = [source for container in pod["containers"] for source in container.get("envFrom", ())]
    sources += [entry["valueFrom"] for container in pod["containers"] for entry in container.get("env", ())]
    for source in sources:
        for field, kind in (
            ("configMapRef", "ConfigMap"),
            ("configMapKeyRef", "ConfigMap"),
            ("secretKeyRef", "Secret"),
        ):
            if field in source:
                yield kind, source[field]["name"]


@pytest.mark.parametrize("service", of_kind("Service"), ids=lambda service: service["metadata"]["name"])
def test_a_service_selects_pods_of_one_workload(service):
    selected = [
        workload
        for workload in (*of_kind("Deployment"), *of_kind("StatefulSet"))
        if workload["metadata"]["namespace"] == service["metadata"]["namespace"]
        and service["spec"]["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert len(selected) == 1


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])
def test_every_workload_is_placed_by_exactly_one_placement(workload):
    assert len([placement for placement in PLACEMENTS if _selects(placement, workload)]) == 1


def _selects(placement, workload):
    metadata = workload["metadata"]
    return placement.metadata.namespace == metadata["namespace"] and any(
        (selector.api_version, selector.kind) == (workload["apiVersion"], workload["kind"])
        and (
            selector.name == metadata["name"]
            if selector.name
            else matches(selector.label_selector, metadata.get("labels", {}))
        )
        for each in placement.spec.workload
        for selector in of_kinds(each)
    )


def test_the_strategies_and_effects_are_all_shown():
    assert {placement.spec.strategy.type for placement in PLACEMENTS} == {"BestFit", "Spread", "Binpack"}
    rules = [rule for policy in of_kind("PlacementPolicy") for rule in policy["spec"]["rules"]]
    assert {rule["effect"] for rule in rules} == {"Require", "Forbid", "Prefer", "Avoid"}


def test_the_world_offers_eight_clusters_in_four_regions():
    targets = WORLD["targets"]
    assert len(targets) == len({target["name"] for target in targets}) == 8
    assert len({target["labels"][REGION_LABEL] for target in targets}) == 4
    assert len({target["labels"][ZONE_LABEL] for target in targets}) == 8
    assert all(PROVIDER_LABEL in target["labels"] for target in targets)
    taints = {taint["effect"] for target in targets for taint in target.get("taints", ())}
    assert taints == {"NoSchedule", "PreferNoSchedule"}
    assert [target["name"] for target in targets if "batch/v1" in target.get("lacks", ())] == ["ap-south-1"]
    assert [target["name"] for target in targets if "groups" in target] == ["eu-north-gpu"]


@pytest.mark.parametrize("target", WORLD["targets"], ids=lambda target: target["name"])
def test_a_target_of_the_world_makes_a_sync_target(target):
    document = {
        "metadata": {"name": target["name"], "labels": target["labels"]},
        "spec": {
            "taints": target.get("taints", []),
            "allowedWorkspaces": {"paths": target.get("allowedWorkspaces", [])},
            "cost": target["cost"],
        },
        "status": {"capacity": target["capacity"], "allocated": target.get("allocated", {}), "nodes": target["nodes"]},
    }
    jsonschema_rs.validator_for(object_schema(SyncTarget)).validate(document)
    assert decode(SyncTarget, document).status.capacity.keys() == {"cpu", "memory", "pods"}


def test_people_and_content_of_the_world_are_where_there_is_a_workspace():
    workspaces = set(WORLD["workspaces"])
    users = {user["name"]: user for user in WORLD["users"]}
    for user in users.values():
        assert set(user["workspaces"]) <= workspaces
        assert set(user["workspaces"].values()) <= {"admin", "edit", "view", "none"}
    groups = {group for user in users.values() for group in user["groups"]}
    for target in WORLD["targets"]:
        assert target["workspace"] in workspaces
        assert set(target.get("groups", ())) <= groups
        assert set(target.get("allowedWorkspaces", ())) <= workspaces
    for entry in WORLD["content"]:
        assert users[entry["user"]]["workspaces"][entry["workspace"]] == "admin"
    names = [name for entry in WORLD["content"] for name in (*entry["files"], *entry.get("publish", ()))]
    used = {path for name in names for path in _files(EXAMPLES / name)}
    elsewhere = (
        "argocd",
        "multicluster",
        "cluster-requests",
        "multikueue",
        "kinds",
        "events",
        "ledger",
        "preemption",
        "quotas",
        "rebalance",
        "rollout",
        "tests",
    )  # for others
    assert used == {path for path in FILES if path.parent.name not in elsewhere and path.stem not in LIBRARY}


def _files(path):
    return path.rglob("*.yaml") if path.is_dir() else [path]

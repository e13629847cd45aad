"""Every kind of workload, built in or declared, is counted, divided, followed and judged by one table."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from services.scheduler.demand import Demand
from services.status.rules import health
from shared.api import PlacementSpec, StateRule, decode_workloadkind
from shared.hub.counting import count
from shared.hub.declared import digest_of, kinds_of
from shared.hub.kinds import BUILT_IN, KINDS, UNKNOWN, Kinds, expires, looks_like_pods, pod_templates
from shared.hub.references import Reference, pod_labels, references
from shared.hub.rendering import Unfit, render
from shared.model.declared import DeclaredKind

EXAMPLES = Path(__file__).parents[3] / "examples" / "kinds" / "workloadkinds.yaml"
DECLARED = tuple(
    DeclaredKind(workspace="root:team", name=each["metadata"]["name"], spec=decode_workloadkind(each).spec)
    for each in yaml.safe_load_all(EXAMPLES.read_text())
)
TEAM = kinds_of("root:team", DECLARED)

POD = {
    "containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "1"}}}],
    "volumes": [{"name": "v", "configMap": {"name": "settings"}}],
}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SIX = {"replicas": 6, "template": TEMPLATE}
FAILED = {"type": "Failed", "status": "True", "message": "x"}

# kind, spec, pods that are counted in a target that has all of it, and whether they can be divided
WORKLOADS: list[tuple[str, str, dict[str, Any], int, bool]] = [
    ("v1", "Pod", POD, 1, False),
    ("v1", "ReplicationController", SIX, 6, True),
    ("apps/v1", "Deployment", SIX, 6, True),
    ("apps/v1", "ReplicaSet", SIX, 6, True),
    ("apps/v1", "StatefulSet", SIX, 6, True),
    ("apps/v1", "DaemonSet", {"template": TEMPLATE}, 0, False),
    ("batch/v1", "Job", {"parallelism": 6, "template": TEMPLATE}, 6, True),
    ("batch/v1", "CronJob", {"jobTemplate": {"spec": {"parallelism": 6, "template": TEMPLATE}}}, 6, False),
    ("apps.kruise.io/v1alpha1", "CloneSet", SIX, 6, True),
    ("apps.kruise.io/v1beta1", "StatefulSet", SIX, 6, True),
    ("apps.kruise.io/v1alpha1", "DaemonSet", {"template": TEMPLATE}, 0, False),
    ("argoproj.io/v1alpha1", "Rollout", SIX, 6, True),
    (
        "keda.sh/v1alpha1",
        "ScaledJob",
        {"maxReplicaCount": 3, "jobTargetRef": {"parallelism": 2, "template": TEMPLATE}},
        6,
        False,
    ),
    ("keda.sh/v1alpha1", "ScaledJob", {"jobTargetRef": {"template": TEMPLATE}}, 100, False),
    (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        {
            "replicatedJobs": [
                {"name": "leader", "template": {"spec": {"template": TEMPLATE}}},
                {"name": "workers", "replicas": 2, "template": {"spec": {"parallelism": 3, "template": TEMPLATE}}},
            ]
        },
        7,
        False,
    ),
    (
        "ray.io/v1",
        "RayCluster",
        {
            "headGroupSpec": {"template": TEMPLATE},
            "workerGroupSpecs": [
                {"replicas": 2, "minReplicas": 1, "maxReplicas": 5, "template": TEMPLATE},
                {"minReplicas": 1, "numOfHosts": 4, "template": TEMPLATE},
            ],
        },
        7,
        False,
    ),
]
each_workload = pytest.mark.parametrize(
    ("api_version", "kind", "spec", "pods", "divisible"), WORKLOADS, ids=[f"{each[0]} {each[1]}" for each in WORKLOADS]
)


def workload(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    bare = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "namespace": "shop"}}
    return {**bare, "metadata": {**bare["metadata"], "labels": {"app": "web"}}, "spec": spec}


def weighted() -> PlacementSpec:
    return msgspec.convert({"replicas": {"division": "Weighted"}}, PlacementSpec)


def test_the_workloads_here_are_all_that_the_table_has_and_all_that_are_declared() -> None:
    here = {(api_version.rpartition("/")[0], kind) for api_version, kind, *_ in WORKLOADS}
    built_in = {name for name, kind in KINDS.items() if kind.has_pods}
    assert here == built_in | set(TEAM.declared)


@each_workload
def test_each_is_counted_with_all_its_pods(
    api_version: str, kind: str, spec: dict[str, Any], pods: int, divisible: bool
) -> None:
    counted = count(PlacementSpec(), "shop", [workload(api_version, kind, spec)], kinds=TEAM)
    assert counted.error == ""
    demand = Demand(counted.workload, divided=False)
    assert {"cpu": float(pods), "pods": float(pods)} == (demand.total or {"cpu": 0.0, "pods": 0.0})
    assert demand.on_every_node == ({} if pods else {"cpu": 1.0, "pods": 1.0})


@each_workload
def test_each_is_divided_as_it_is_counted_or_refused_with_the_reason(
    api_version: str, kind: str, spec: dict[str, Any], pods: int, divisible: bool
) -> None:
    obj = workload(api_version, kind, spec)
    counted = count(weighted(), "shop", [obj], kinds=TEAM)
    if not divisible:
        assert counted.error == "replicas are to be divided among targets, and nothing that is placed has any"
        return
    share = render(weighted(), "shop", [obj], replicas=2, kinds=TEAM).objects
    applied = count(PlacementSpec(), "shop", share, kinds=TEAM).workload
    assert Demand(counted.workload, divided=True).of(2) == Demand(applied, divided=False).total == {"cpu": 2, "pods": 2}


@each_workload
def test_what_pods_of_each_name_comes_along_and_services_select_them(
    api_version: str, kind: str, spec: dict[str, Any], pods: int, divisible: bool
) -> None:
    obj = workload(api_version, kind, spec)
    if kind == "Pod":
        obj["metadata"]["labels"] = {"app": "web"}
    assert references(obj, TEAM) == [Reference("ConfigMap", "settings")]
    labels = pod_labels(obj, TEAM)
    assert len(labels) == len(pod_templates(obj, TEAM.of(obj)))
    assert all(each == {"app": "web"} for each in labels)


@pytest.mark.parametrize(
    ("api_version", "kind", "spec"),
    [(version, kind, spec) for version, kind, spec, *_ in WORKLOADS if BUILT_IN.named(version, kind).replicas],
)
def test_each_built_in_that_keeps_replicas_is_healthy_once_they_are_ready_and_not_before(
    api_version: str, kind: str, spec: dict[str, Any]
) -> None:
    obj, counts = workload(api_version, kind, spec), ("replicas", "readyReplicas", "availableReplicas")
    status = {**dict.fromkeys((*counts, "updatedReplicas"), 6), "observedGeneration": 1}
    available = [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}]
    judged = health({**obj, "status": {**status, "conditions": available}})
    assert (judged.health, judged.replicas, judged.ready) == ("Healthy", 6, 6)
    assert health({**obj, "status": {"replicas": 6}}).health == "Progressing"


def test_what_nobody_declares_and_has_pods_is_refused_and_not_counted_as_nothing() -> None:
    obj = workload("apps.kruise.io/v1alpha1", "CloneSet", SIX)
    counted = count(PlacementSpec(), "shop", [obj])
    assert counted.error == "CloneSet web has pods that nobody counts: a WorkloadKind says where a kind keeps them"
    assert count(PlacementSpec(), "shop", [workload("shop.io/v1", "Till", {"size": 6})]).error == ""


@pytest.mark.parametrize(
    ("obj", "found"),
    [
        ({"spec": {"deep": [{"containers": [{"name": "a", "image": "b"}]}]}}, True),
        ({"spec": {"containers": [{"name": "a"}]}}, False),
        ({"spec": {"containers": {"name": "a", "image": "b"}}}, False),
        ({"spec": "containers"}, False),
    ],
)
def test_pods_are_recognised_by_their_containers_wherever_they_are(obj: dict[str, Any], found: bool) -> None:
    assert looks_like_pods(obj) is found


def test_a_kind_that_grows_by_itself_is_refused_where_it_does() -> None:
    head = {"headGroupSpec": {"template": TEMPLATE}}
    growing = workload("ray.io/v1", "RayCluster", {**head, "enableInTreeAutoscaling": True})
    with pytest.raises(Unfit, match=r"RayCluster web has spec\.enableInTreeAutoscaling, by which its pods change"):
        render(PlacementSpec(), "shop", [growing], kinds=TEAM)
    still = workload("ray.io/v1", "RayCluster", {**head, "enableInTreeAutoscaling": False})
    assert render(PlacementSpec(), "shop", [still], kinds=TEAM).objects


@pytest.mark.parametrize(
    ("group", "pods"),
    [
        ({}, 1),
        ({"minReplicas": 3}, 4),
        ({"replicas": 9, "maxReplicas": 2}, 3),
        ({"replicas": 1, "minReplicas": 3, "maxReplicas": 5}, 4),
    ],
)
def test_a_number_that_another_field_bounds_is_counted_within_the_bounds(group: dict[str, Any], pods: int) -> None:
    spec = {"headGroupSpec": {"template": TEMPLATE}, "workerGroupSpecs": [{**group, "template": TEMPLATE}]}
    counted = count(PlacementSpec(), "shop", [workload("ray.io/v1", "RayCluster", spec)], kinds=TEAM)
    assert Demand(counted.workload, divided=False).total == {"cpu": pods, "pods": pods}


def test_a_job_of_a_set_has_no_more_pods_than_have_to_succeed() -> None:
    jobs = [{"replicas": 2, "template": {"spec": {"parallelism": 9, "completions": 3, "template": TEMPLATE}}}]
    counted = count(
        PlacementSpec(), "shop", [workload("jobset.x-k8s.io/v1", "JobSet", {"replicatedJobs": jobs})], kinds=TEAM
    )
    assert Demand(counted.workload, divided=False).total == {"cpu": 6, "pods": 6}


def test_what_is_deleted_some_time_after_its_end_is_known_by_the_field_that_says_so() -> None:
    spec = msgspec.structs.replace(
        DECLARED[0].spec,
        group="sparkoperator.k8s.example.com",
        kind="SparkApplication",
        states=(StateRule(means="Succeeded", path="status.state", values=("COMPLETED",)),),
        expires="spec.timeToLiveSeconds",
    )
    kinds = kinds_of("root", [DeclaredKind(workspace="root", name="spark", spec=spec)])
    found = {"apiVersion": f"{spec.group}/v1", "kind": spec.kind, "spec": {"timeToLiveSeconds": 60}}
    assert expires(found, kinds.of(found))
    assert expires({**found, "spec": {"ttlSecondsAfterFinished": 0}}, kinds.of(found))
    assert not expires({**found, "spec": {}}, kinds.of(found))


def test_counts_that_are_no_numbers_are_refused_by_their_path() -> None:
    obj = workload("keda.sh/v1alpha1", "ScaledJob", {"maxReplicaCount": "all", "jobTargetRef": {"template": TEMPLATE}})
    counted = count(PlacementSpec(), "shop", [obj], kinds=TEAM)
    assert counted.error == "ScaledJob web: spec.maxReplicaCount: 'all' is no number of replicas"


def test_fields_of_a_kind_that_name_objects_are_followed() -> None:
    spec = {**SIX, "strategy": {"canary": {"stableService": "web", "canaryService": "web-new"}}}
    found = references(workload("argoproj.io/v1alpha1", "Rollout", spec), TEAM)
    assert found[1:] == [Reference("Service", "web"), Reference("Service", "web-new")]
    owner = workload("apps/v1", "StatefulSet", {**SIX, "serviceName": "web"})
    assert references(owner)[1:] == [Reference("Service", "web")]


def test_a_declaration_holds_below_its_workspace_and_the_one_nearest_to_the_root_counts() -> None:
    above = msgspec.structs.replace(DECLARED[0], workspace="root")
    bare = msgspec.structs.replace(DECLARED[0].spec, pods=(), replicas=None, ready=None)
    below = msgspec.structs.replace(DECLARED[0], workspace="root:team", spec=bare)
    counts = kinds_of("root:team:web", [below, above]).named("apps.kruise.io/v1", "CloneSet")
    assert counts == kinds_of("root", [above]).named("apps.kruise.io/v1", "CloneSet")
    assert counts.replicas == ("spec", "replicas")
    assert kinds_of("root:teams", [below]) == BUILT_IN


def test_built_in_kinds_cannot_be_declared_otherwise() -> None:
    spec = msgspec.structs.replace(DECLARED[0].spec, group="apps", kind="Deployment", replicas=None)
    kinds = kinds_of("root", [DeclaredKind(workspace="root", name="d", spec=spec)])
    assert kinds.named("apps/v1", "Deployment") is KINDS["apps", "Deployment"]


def test_what_is_declared_of_the_kinds_that_are_used_is_part_of_what_was_decided() -> None:
    used = {("apps.kruise.io/v1", "CloneSet")}
    bare = msgspec.structs.replace(DECLARED[0].spec, pods=())
    other = kinds_of("root", [DeclaredKind(workspace="root", name="c", spec=bare)])
    assert digest_of(TEAM, used) != digest_of(other, used)
    assert digest_of(TEAM, {("apps/v1", "Deployment")}) == digest_of(Kinds(), used) == ""
    assert Kinds().named("apps.kruise.io/v1", "CloneSet") is UNKNOWN


@pytest.mark.parametrize(
    ("api_version", "kind", "status", "expected", "message"),
    [
        ("apps.kruise.io/v1", "CloneSet", {"readyReplicas": 2}, "Progressing", "2 of 6 replicas are ready"),
        ("apps.kruise.io/v1", "CloneSet", {"readyReplicas": 7}, "Healthy", ""),
        ("argoproj.io/v1", "Rollout", {"phase": "Healthy"}, "Healthy", "status.phase is Healthy"),
        ("argoproj.io/v1", "Rollout", {"phase": "Degraded"}, "Degraded", "status.phase is Degraded"),
        (
            "argoproj.io/v1",
            "Rollout",
            {"phase": "Paused"},
            "Progressing",
            "its conditions and fields do not say yet that it is healthy",
        ),
        ("jobset.x-k8s.io/v1", "JobSet", {}, "Healthy", ""),
        (
            "jobset.x-k8s.io/v1",
            "JobSet",
            {"conditions": [{"type": "Failed", "status": "True", "message": "x"}]},
            "Unhealthy",
            "x",
        ),
        ("keda.sh/v1", "ScaledJob", {"conditions": [{"type": "Ready", "status": "False"}]}, "Progressing", "not Ready"),
        ("ray.io/v1", "RayCluster", {"state": "failed"}, "Unhealthy", "status.state is failed"),
    ],
)
def test_a_declared_kind_is_judged_as_it_is_declared(
    api_version: str, kind: str, status: dict[str, Any], expected: str, message: str
) -> None:
    found = health({**workload(api_version, kind, SIX), "status": status}, TEAM)
    assert (found.health, found.message) == (expected, message)


def test_a_flag_is_a_value_too_and_any_value_will_do_where_none_is_named() -> None:
    rules = [
        {"path": "status.ok", "values": ["true"], "means": "Healthy"},
        {"path": "status.error", "means": "Unhealthy"},
    ]
    document = {"spec": {"group": "shop.io", "kind": "Till", "states": rules}}
    spec = decode_workloadkind({"kind": "WorkloadKind", "metadata": {"name": "till"}, **document}).spec
    kinds = kinds_of("root", [DeclaredKind(workspace="root", name="till", spec=spec)])
    judged = [
        health({**workload("shop.io/v1", "Till", {}), "status": each}, kinds).health
        for each in (
            {"ok": True},
            {"error": "paper"},
            {"ok": False},
            {"ok": {}},
        )
    ]
    assert judged == ["Healthy", "Unhealthy", "Progressing", "Progressing"]

"""Health of one object, kind by kind."""

from typing import Any, get_args

import pytest

from services.status.rules import RULES, Diagnosis, health
from shared.hub.kinds import KINDS, HealthRule


def obj(kind: str, spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    group = next((group for group, name in KINDS if name == kind), "shop.io")
    version = f"{group}/v1" if group else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or {}, "status": status or {}}


def is_(type: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"type": type, "status": status, **more}


FULL = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
ROLLED_OUT = is_("Progressing", reason="NewReplicaSetAvailable")
THREE = {"replicas": 3}
NODES = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3}

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("a full Deployment", obj("Deployment", THREE, FULL), "Healthy", ""),
    ("scaled to zero", obj("Deployment", {"replicas": 0}, {}), "Healthy", ""),
    ("nothing yet", obj("Deployment", {}, {}), "Progressing", "0 of 1 replicas are updated"),
    (
        "old pods left",
        obj("Deployment", THREE, {**FULL, "replicas": 4}),
        "Progressing",
        "1 old replicas are being replaced",
    ),
    (
        "rolling out",
        obj("Deployment", THREE, {**FULL, "availableReplicas": 2}),
        "Progressing",
        "2 of 3 replicas are available",
    ),
    (
        "pods lost after the rollout",
        obj("Deployment", THREE, {**FULL, "readyReplicas": 2, "availableReplicas": 2, "conditions": [ROLLED_OUT]}),
        "Degraded",
        "2 of 3 replicas are available",
    ),
    (
        "all pods lost after the rollout",
        obj("Deployment", THREE, {"replicas": 3, "updatedReplicas": 3, "conditions": [ROLLED_OUT]}),
        "Unhealthy",
        "0 of 3 replicas are available",
    ),
    (
        "stuck",
        obj("Deployment", {}, {"conditions": [is_("Progressing", "False", reason="ProgressDeadlineExceeded")]}),
        "Unhealthy",
        "ProgressDeadlineExceeded",
    ),
    (
        "no quota",
        obj("Deployment", {}, {"conditions": [is_("ReplicaFailure", message="quota exceeded")]}),
        "Unhealthy",
        "quota exceeded",
    ),
    (
        "change not seen",
        obj("Deployment", THREE, {**FULL, "observedGeneration": 1}, generation=2),
        "Progressing",
        "its controller has not seen the last change yet",
    ),
    ("going", obj("Deployment", THREE, FULL, deletionTimestamp="2026-01-01T00:00:00Z"), "Progressing", "being deleted"),
    (
        "a full StatefulSet",
        obj("StatefulSet", THREE, {"readyReplicas": 3, "currentRevision": "a", "updateRevision": "a"}),
        "Healthy",
        "",
    ),
    ("starting", obj("StatefulSet", THREE, {"readyReplicas": 1}), "Progressing", "1 of 3 replicas are ready"),
    (
        "updating",
        obj("StatefulSet", THREE, {"readyReplicas": 3, "updatedReplicas": 1, "updateRevision": "b"}),
        "Progressing",
        "1 of 3 replicas are updated",
    ),
    (
        "partitioned",
        obj(
            "StatefulSet",
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {"readyReplicas": 3, "updatedReplicas": 1, "updateRevision": "b"},
        ),
        "Healthy",
        "",
    ),
    (
        "updated by hand",
        obj(
            "StatefulSet",
            {"replicas": 3, "updateStrategy": {"type": "OnDelete"}},
            {"readyReplicas": 3, "updateRevision": "b"},
        ),
        "Healthy",
        "",
    ),
    ("a full DaemonSet", obj("DaemonSet", {}, NODES), "Healthy", ""),
    ("no nodes", obj("DaemonSet", {}, {"desiredNumberScheduled": 0}), "Healthy", ""),
    ("not looked at", obj("DaemonSet"), "Progressing", "its controller has not looked at it yet"),
    (
        "updating",
        obj("DaemonSet", {}, {**NODES, "updatedNumberScheduled": 1}),
        "Progressing",
        "1 of 3 nodes are updated",
    ),
    ("starting", obj("DaemonSet", {}, {**NODES, "numberReady": 2}), "Progressing", "available on 2 of 3 nodes"),
    ("a full ReplicaSet", obj("ReplicaSet", THREE, FULL), "Healthy", ""),
    ("starting", obj("ReplicaSet", THREE, {"readyReplicas": 1}), "Progressing", "0 of 3 replicas are available"),
    ("failing", obj("ReplicaSet", {}, {"conditions": [is_("ReplicaFailure")]}), "Unhealthy", "pods cannot be created"),
    ("not begun", obj("Job"), "Progressing", "the job has not started"),
    ("at work", obj("Job", {}, {"startTime": "t", "active": 2}), "Healthy", "2 pods are at work"),
    ("suspended", obj("Job", {"suspend": True}), "Healthy", "suspended"),
    ("done", obj("Job", {}, {"succeeded": 3, "conditions": [is_("Complete")]}), "Healthy", "3 pods completed"),
    ("failed", obj("Job", {}, {"conditions": [is_("Failed", message="backoff")]}), "Unhealthy", "backoff"),
    ("a CronJob", obj("CronJob", {"schedule": "@daily"}), "Healthy", ""),
    ("ready", obj("Pod", {}, {"phase": "Running", "conditions": [is_("Ready")]}), "Healthy", ""),
    ("completed", obj("Pod", {}, {"phase": "Succeeded"}), "Healthy", "completed"),
    ("failed", obj("Pod", {}, {"phase": "Failed", "reason": "Evicted"}), "Unhealthy", "Evicted"),
    ("starting", obj("Pod", {}, {"phase": "Pending"}), "Progressing", "the pod is starting"),
    (
        "crashing",
        obj(
            "Pod",
            {},
            {
                "phase": "Running",
                "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            },
        ),
        "Unhealthy",
        "container main: CrashLoopBackOff",
    ),
    (
        "no room",
        obj(
            "Pod",
            {},
            {"phase": "Pending", "conditions": [is_("PodScheduled", "False", reason="Unschedulable", message="0/3")]},
        ),
        "Unhealthy",
        "0/3",
    ),
    ("bound", obj("PersistentVolumeClaim", {}, {"phase": "Bound"}), "Healthy", ""),
    ("pending", obj("PersistentVolumeClaim", {}, {"phase": "Pending"}), "Progressing", "waits for a volume"),
    ("lost", obj("PersistentVolumeClaim", {}, {"phase": "Lost"}), "Unhealthy", "its volume is lost"),
    ("a Service", obj("Service", {"type": "ClusterIP"}), "Healthy", ""),
    ("no address", obj("Service", {"type": "LoadBalancer"}), "Progressing", "the load balancer has no address yet"),
    (
        "an address",
        obj("Service", {"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}),
        "Healthy",
        "",
    ),
    ("served", obj("CustomResourceDefinition", {}, {"conditions": [is_("Established")]}), "Healthy", ""),
    ("not served", obj("CustomResourceDefinition"), "Progressing", "not served yet"),
    (
        "taken",
        obj("CustomResourceDefinition", {}, {"conditions": [is_("NamesAccepted", "False", message="taken")]}),
        "Unhealthy",
        "taken",
    ),
    ("data", obj("ConfigMap"), "Healthy", ""),
    ("an Ingress", obj("Ingress"), "Healthy", ""),
    ("a budget", obj("PodDisruptionBudget"), "Healthy", ""),
    ("unknown kind", obj("Basket"), "Healthy", ""),
    ("ready", obj("Basket", {}, {"conditions": [is_("Ready")]}), "Healthy", ""),
    (
        "not ready",
        obj("Basket", {}, {"conditions": [is_("Ready", "False", reason="Waiting")]}),
        "Progressing",
        "Waiting",
    ),
    ("unavailable", obj("Basket", {}, {"conditions": [is_("Available", "False")]}), "Progressing", "not Available"),
    ("stalled", obj("Basket", {}, {"conditions": [is_("Stalled", message="no key")]}), "Unhealthy", "no key"),
    ("reconciling", obj("Basket", {}, {"conditions": [is_("Reconciling")]}), "Progressing", "being reconciled"),
    ("nonsense", {"kind": "Basket", "metadata": 7, "status": {"conditions": ["x", None]}}, "Healthy", ""),
]


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [case[1:] for case in CASES],
    ids=[f"{case[1]['kind']} {case[0]}" for case in CASES],
)
def test_health_follows_the_rules_of_the_kind(found: dict[str, Any], expected: str, message: str) -> None:
    finding = health(found)
    assert (finding.health, finding.message) == (expected, message)


def test_kinds_with_replicas_say_how_many_are_ready() -> None:
    assert health(obj("Deployment", THREE, {**FULL, "readyReplicas": 9})) == Diagnosis("Healthy", "", 3, 3)
    assert health(obj("DaemonSet", {}, {**NODES, "numberReady": 1}))[2:4] == (3, 1)
    assert health(obj("StatefulSet", THREE, {"readyReplicas": 2}))[2:4] == (3, 2)
    assert health(obj("ConfigMap"))[2:4] == (None, None)


def test_every_rule_that_the_table_of_kinds_names_is_there_and_every_rule_is_named():
    assert set(RULES) == set(get_args(HealthRule)) == {each.health for each in KINDS.values()} | {"generic"}


def test_what_ran_to_its_end_is_known_by_its_own_words_and_a_pod_that_is_restarted_has_no_end():
    ended = [
        health(obj("Job", {}, {"conditions": [is_("Complete")]})),
        health(obj("Job", {}, {"conditions": [is_("Failed")]})),
        health(obj("Job", {}, {"conditions": [is_("FailureTarget")]})),
        health(obj("Job", {}, {"startTime": "x"})),
        health(obj("Pod", {"restartPolicy": "Never"}, {"phase": "Succeeded"})),
        health(obj("Pod", {"restartPolicy": "OnFailure"}, {"phase": "Failed"})),
        health(obj("Pod", {"restartPolicy": "Always"}, {"phase": "Failed"})),
    ]
    assert [each.ended for each in ended] == ["Succeeded", "Failed", "", "", "Succeeded", "Failed", ""]

"""What the simulator makes of workloads: pure tables, and the loop against a sandbox."""

import asyncio

import pytest

from services.sandbox.sandbox import Sandbox
from services.sandbox.world.simulator import Simulator
from services.sandbox.world.workloads import FAIL, need, outcomes, status_of

NOW = "2026-01-02T03:04:05Z"
NODES = [{"status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}}] * 2


def workload(kind="Deployment", name="web", *, replicas=2, cpu="500m", created="2026-01-01T00:00:00Z", **more):
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    metadata = {"name": name, "namespace": "default", "generation": 3, "creationTimestamp": created, "uid": name}
    return {"kind": kind, "metadata": metadata, "spec": {**spec, **more}}


def statuses(*items, nodes=NODES):
    found = outcomes({number: need(item) for number, item in enumerate(items)}, nodes)
    return {items[number]["metadata"]["name"]: status_of(items[number], each, NOW) for number, each in found.items()}


def conditions(status):
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_a_deployment_that_fits_becomes_available():
    status = statuses(workload())["web"]
    assert (status["observedGeneration"], status["readyReplicas"], status["replicas"]) == (3, 2, 2)
    assert conditions(status) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


def test_what_does_not_fit_waits_and_says_why():
    found = statuses(workload(name="old", replicas=6), workload(name="new", replicas=4, created=NOW))
    assert found["old"]["readyReplicas"] == 6
    assert (found["new"]["readyReplicas"], found["new"]["unavailableReplicas"]) == (2, 2)
    assert conditions(found["new"])["ReplicaFailure"] == ("True", "FailedScheduling")
    messages = {c["type"]: c["message"] for c in found["new"]["conditions"]}
    assert messages["ReplicaFailure"] == "0/2 nodes are available: 2 Insufficient cpu."


def test_pods_take_room_before_workloads():
    pod = workload("Pod", "others", created=NOW)
    pod["spec"] = {"containers": [{"resources": {"requests": {"cpu": "3"}}}]}
    found = statuses(workload(replicas=4), pod)
    assert found["others"]["phase"] == "Running"
    assert found["web"]["readyReplicas"] == 2


def test_cordoned_nodes_and_no_nodes_have_no_room():
    cordoned = [{**node, "spec": {"unschedulable": True}} for node in NODES]
    assert statuses(workload(), nodes=cordoned)["web"]["readyReplicas"] == 0
    assert statuses(workload(), nodes=[])["web"]["readyReplicas"] == 0


@pytest.mark.parametrize("where", ["workload", "template"])
def test_the_annotation_keeps_a_workload_from_becoming_ready(where):
    item = workload()
    metadata = item["metadata"] if where == "workload" else item["spec"]["template"].setdefault("metadata", {})
    metadata["annotations"] = {FAIL: "true"}
    status = statuses(item)["web"]
    assert status["readyReplicas"] == 0
    assert conditions(status)["Progressing"] == ("False", "ProgressDeadlineExceeded")


def test_a_status_that_is_right_stays_as_it_is():
    item = workload()
    first = statuses(item)["web"]
    (outcome,) = outcomes({"web": need(item)}, NODES).values()
    assert status_of({**item, "status": first}, outcome, "2027-01-01T00:00:00Z") == first


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (workload("StatefulSet"), {"readyReplicas": 2, "currentRevision": "web-3", "updateRevision": "web-3"}),
        (workload("DaemonSet"), {"desiredNumberScheduled": 2, "numberReady": 2, "numberUnavailable": 0}),
        (workload("Job", parallelism=1, completions=3), {"succeeded": 3, "completionTime": NOW}),
        (workload("Job", parallelism=9, completions=9), {"active": 8, "ready": 8}),
        (workload("Pod"), {"phase": "Running"}),
        (workload("Service", type="LoadBalancer"), {"loadBalancer": {"ingress": [{"ip": "192.0.2.65"}]}}),
        (workload("Service"), {"loadBalancer": {}}),
        (
            workload("PersistentVolumeClaim", resources={"requests": {"storage": "1Gi"}}, accessModes=["X"]),
            {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["X"]},
        ),
    ],
)
def test_each_kind_reports_as_its_controller_would(item, expected):
    status = statuses(item)["web"]
    assert {name: status[name] for name in expected} == expected


def test_jobs_and_pods_fail_too():
    job, pod = workload("Job", "job"), workload("Pod", "pod")
    for item in (job, pod):
        item["metadata"]["annotations"] = {FAIL: "true"}
    found = statuses(job, pod)
    assert conditions(found["job"])["Failed"] == ("True", "BackoffLimitExceeded")
    assert found["pod"]["phase"] == "Pending"


def add_nodes(sandbox, cluster):
    at = sandbox.address(cluster.name, "v1", "nodes")
    sandbox.registry.create(at, {"metadata": {"name": "n"}}, sandbox.system_write())
    body = {"metadata": {"name": "n"}, **NODES[0]}
    sandbox.registry.update(at._replace(name="n"), body, sandbox.system_write("status"))


def create(sandbox, cluster, **more):
    at = sandbox.address(cluster.name, "apps/v1", "deployments", "default")
    item = workload(**more)
    item["spec"]["selector"] = {}
    body = {"metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"]}
    return sandbox.registry.create(at, body, sandbox.system_write())


async def ready(sandbox, cluster, name="web", replicas=None):
    """The deployment once so many of its replicas (by default all) are ready."""
    watcher = sandbox.store.watch(cluster.name, ["deployments.apps"])
    key = sandbox.address(cluster.name, "apps/v1", "deployments", "default", name).key
    async with asyncio.timeout(10):
        while True:
            found = sandbox.store.get(key).document()
            wanted = found["spec"]["replicas"] if replicas is None else replicas
            if found.get("status", {}).get("readyReplicas") == wanted:
                return found
            await watcher.next(5)


async def test_the_loop_follows_targets_present_and_added_and_survives_a_cut():
    sandbox = Sandbox()
    present, _ = sandbox.add_target("present")
    async with Simulator(sandbox, delay=0.01):
        added, _ = sandbox.add_target("added")
        for cluster in (present, added):
            add_nodes(sandbox, cluster)
            create(sandbox, cluster)
            found = await ready(sandbox, cluster)
            assert found["metadata"]["managedFields"][-1]["subresource"] == "status"
        sandbox.set_available(added.name, False)
        sandbox.set_available(added.name, True)
        create(sandbox, added, name="later", replicas=1)
        await ready(sandbox, added, "later")
    assert sandbox.on_target is None


async def test_what_found_no_room_runs_once_others_have_left_it():
    sandbox = Sandbox()
    cluster, _ = sandbox.add_target("present")
    add_nodes(sandbox, cluster)
    first = create(sandbox, cluster, name="first", replicas=4, cpu="500m")
    async with Simulator(sandbox, delay=0.01):
        await ready(sandbox, cluster, "first")
        create(sandbox, cluster, name="second", replicas=3, cpu="500m")
        await ready(sandbox, cluster, "second", 0)
        sandbox.deleter.delete(cluster, sandbox.store.get(first.key), {}, NOW)
        await ready(sandbox, cluster, "second")

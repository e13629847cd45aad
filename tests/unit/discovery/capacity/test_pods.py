"""What pods ask for, by Kubernetes' rules, and which of it is others'."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.capacity import pods
from services.discovery.capacity.pods import Link, Owner, Partial, Pod, PodRequests, TooManyOwners, others
from shared.kube.applyset import APPLYSET_PART_OF

NODES = frozenset({"n1", "n2"})


def container(cpu=None, memory=None, **more):
    requests = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"name": "c", "resources": {"requests": requests}, **more}


def sidecar(cpu):
    return container(cpu, restartPolicy="Always")


def pod(*containers, phase="Running", node="n1", owner=None, applyset="", namespace="shop", **spec):
    references = [{"apiVersion": "v1", "kind": "Thing", "uid": "bystander"}]
    if owner:
        kind, uid = owner
        references.append({"apiVersion": "apps/v1", "kind": kind, "uid": uid, "controller": True})
    labels = {"app": "web", **({APPLYSET_PART_OF: applyset} if applyset else {})}
    metadata = {"name": "p", "namespace": namespace, "labels": labels, "ownerReferences": references}
    body = {"containers": list(containers or [container("1")]), "nodeName": node, **spec}
    return msgspec.json.decode(
        msgspec.json.encode({"metadata": metadata, "spec": body, "status": {"phase": phase}}), type=Pod
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pod({"name": "c"}), {}),
        (pod({"name": "c", "resources": {}}), {}),
        (pod(container("500m", "1Gi"), container("250m")), {"cpu": 0.75, "memory": 2.0**30}),
        (pod(container("1"), container("2"), initContainers=[container("2")]), {"cpu": 3.0}),
        (pod(container("1"), container("2"), initContainers=[container("4"), container("5")]), {"cpu": 5.0}),
        (
            pod(container("3", "1"), initContainers=[container("1", "4")]),  # each resource has its own greatest moment
            {"cpu": 3.0, "memory": 4.0},
        ),
        (pod(container("1"), initContainers=[sidecar("3")]), {"cpu": 4.0}),
        (pod(container("1"), initContainers=[sidecar("1"), container("3")]), {"cpu": 4.0}),
        (pod(container("1"), initContainers=[container("3"), sidecar("1")]), {"cpu": 3.0}),
        (pod(container("1"), initContainers=[sidecar("1"), container("1"), sidecar("2")]), {"cpu": 4.0}),
        (pod(container("1"), overhead={"cpu": "250m", "memory": "120Mi"}), {"cpu": 1.25, "memory": 120 * 2.0**20}),
        (pod(container("1"), initContainers=[container("2")], overhead={"cpu": "1"}), {"cpu": 3.0}),
        (
            pod(container("1", "1Gi"), resources={"requests": {"cpu": "4", "hugepages-2Mi": "4Mi", "gpu": "9"}}),
            {"cpu": 4.0, "memory": 2.0**30, "hugepages-2Mi": 2.0**22},
        ),
        (pod(container("1"), resources={"requests": {"cpu": "500m"}}, overhead={"cpu": "1"}), {"cpu": 1.5}),
        (pod(container("lots"), container("-3"), container("1")), {"cpu": 1.0}),
    ],
)
def test_a_pod_asks_for_what_the_scheduler_of_kubernetes_counts(given, expected):
    assert given.requests == {**expected, "pods": 1.0}


@pytest.mark.parametrize(
    ("given", "nodes", "counts"),
    [
        (pod(), NODES, True),
        (pod(phase="Pending"), NODES, True),
        (pod(phase="Pending", node=""), NODES, True),
        (pod(phase="Pending", node="", schedulingGates=[{"name": "queue"}]), NODES, False),
        (pod(phase="Unknown"), NODES, True),
        (pod(phase="Succeeded"), NODES, False),
        (pod(phase="Failed"), NODES, False),
        (pod(node="control-plane"), NODES, False),
        (pod(node="control-plane"), None, True),
        (Pod(), NODES, True),
    ],
)
def test_a_pod_counts_while_it_takes_room_that_is_allocatable(given, nodes, counts):
    assert given.takes_room(nodes) is counts


def tallied(*found, nodes=NODES):
    tally = PodRequests(nodes)
    for each in found:
        tally.add(each)
    return tally.sums


def partial(applyset="", owner=None, namespace="shop"):
    """A link as the metadata of an owner gives it."""
    metadata = {"namespace": namespace}
    if applyset:
        metadata["labels"] = {APPLYSET_PART_OF: applyset}
    if owner:
        kind, uid = owner
        reference = {"apiVersion": "apps/v1", "kind": kind, "uid": uid, "controller": True}
        metadata["ownerReferences"] = [reference]
    return msgspec.convert({"metadata": metadata}, Partial).metadata.link


def test_sums_are_kept_by_owner():
    sums = tallied(
        pod(container("1"), owner=("ReplicaSet", "r")),
        pod(container("2"), owner=("ReplicaSet", "r")),
        pod(container("4"), phase="Failed", owner=("ReplicaSet", "r")),
        pod(container("8")),
        pod(container("16"), applyset="a"),
    )
    owner = Owner("shop", "apps", "ReplicaSet", "r")
    assert sums == {
        Link("", owner): {"cpu": 3.0, "pods": 2.0},
        Link("", None): {"cpu": 8.0, "pods": 1.0},
        Link("a", None): {"cpu": 16.0, "pods": 1.0},
    }


REPLICA_SET = ("ReplicaSet", "r")
LOOP = {"r": partial(owner=("Deployment", "d")), "d": partial(owner=REPLICA_SET)}


@pytest.mark.parametrize(
    ("given", "links", "counts"),
    [
        (pod(), {}, True),
        (pod(applyset="ours"), {}, False),
        (pod(applyset="another tool's"), {}, True),
        (pod(owner=REPLICA_SET), {}, True),  # its owner is gone, and it will be
        (pod(owner=REPLICA_SET), {"r": partial()}, True),
        (pod(owner=REPLICA_SET), {"r": partial("ours")}, False),
        (pod(owner=REPLICA_SET), {"r": partial(owner=("Deployment", "d")), "d": partial("ours")}, False),
        (pod(owner=REPLICA_SET), {"r": partial(owner=("Deployment", "d")), "d": partial("other")}, True),
        (pod(owner=REPLICA_SET), {"r": partial(owner=("Deployment", "d"))}, True),
        (pod(owner=REPLICA_SET), LOOP, True),
    ],
)
def test_what_was_placed_is_left_out(given, links, counts):
    assert others(tallied(given), links, {"ours"}) == ({"cpu": 1.0, "pods": 1.0} if counts else {})


@given(st.permutations([container(f"{n}m", f"{n * 7}") for n in range(1, 40)]))
def test_the_order_of_pods_makes_no_difference(containers):
    expected = {"cpu": 0.78, "memory": 5460.0, "pods": 39.0}
    assert others(tallied(*(pod(each) for each in containers)), {}, ()) == expected


def test_what_is_kept_of_a_hostile_cluster_is_bounded(monkeypatch):
    many = [pod({"resources": {"requests": {f"r{n}-{m}": "1" for m in range(40)}}}) for n in range(4)]
    assert len(others(tallied(*many), {}, ())) == 64
    assert others(tallied(pod(container("8E"), container("8E"))), {}, ())["cpu"] == 2.0**63
    monkeypatch.setattr(pods, "MOST_OWNERS", 2)
    with pytest.raises(TooManyOwners):
        tallied(*(pod(owner=("ReplicaSet", str(n))) for n in range(3)))

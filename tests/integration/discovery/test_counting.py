"""What the pods of a target ask for, in its inventory entry and its status."""

import pytest

from services.discovery import probing
from services.discovery.capacity import counting
from shared.hub.names import CLAIM_ANNOTATION, SYSTEM_NAMESPACE
from shared.hub.resources import SYNCTARGETS
from shared.kube.applyset import APPLYSET_PART_OF, applyset_id, applyset_member, applyset_parent
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Bounds, Client
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, Resource
from tests.support.waiting import until

PLATFORM = "root:platform"
REPLICASETS = Resource("apps", "v1", "replicasets", kind="ReplicaSet")
SET = applyset_id("web-set", SYSTEM_NAMESPACE, "ConfigMap", "")


def thing(resource, name, *, owner=None, namespace="shop", **spec):
    metadata = {"name": name, "namespace": namespace}
    if owner:
        about = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
        about |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        metadata["ownerReferences"] = [{**about, "controller": True}]
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def pod(name, cpu, *, owner=None, node="east-0", namespace="shop"):
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return thing(PODS, name, owner=owner, namespace=namespace, containers=[container], nodeName=node)


def workload(resource, name, *, owner=None):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return thing(resource, name, owner=owner, **spec)


class Cluster:
    """The target cluster, with a pod that nobody placed, and a Deployment's pod that may be placed."""

    def __init__(self, client):
        self.client = client

    async def fill(self):
        client = self.client
        for name in ("shop", SYSTEM_NAMESPACE):
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        deployment = await client.create(DEPLOYMENTS, workload(DEPLOYMENTS, "web"))
        replicaset = await client.create(REPLICASETS, workload(REPLICASETS, "web-1", owner=deployment))
        await client.create(PODS, pod("web-1-a", "2", owner=replicaset))
        await client.create(PODS, pod("other", "500m"))

    async def place(self):
        """Mark the Deployment as binding does."""
        bare = {"apiVersion": "v1", "kind": "ConfigMap"}
        bare["metadata"] = {"name": "web-set", "namespace": SYSTEM_NAMESPACE}
        deployment = await self.client.get(DEPLOYMENTS, "web", "shop")
        await self.client.create(CONFIGMAPS, applyset_parent(bare, [deployment]))
        labels = applyset_member(deployment, SET)["metadata"]["labels"]
        assert labels[APPLYSET_PART_OF] == SET
        await self.client.merge_patch(DEPLOYMENTS, "web", {"metadata": {"labels": labels}}, "shop")


@pytest.fixture
async def east(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with Client(load_kubeconfig(scene.kubeconfigs["target-east"])) as client:
        cluster = Cluster(client)
        await cluster.fill()
        yield cluster


async def allocated(scene, **expected):
    """Wait until this is what is known to be allocated; the entry."""

    async def look():
        entry = await scene.entry(PLATFORM, "east")
        return entry if entry and entry.allocated == expected else None

    return await until(look)


async def condition(scene, status, **amounts):
    """Wait until the condition PodsCounted is this, and that is written as allocated, if given; the condition's message
    and what is written as allocated.
    """

    async def look():
        found = (await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "east")).get("status") or {}
        messages = {
            each["type"]: each.get("message", "") for each in found.get("conditions", ()) if each["status"] == status
        }
        written = found.get("allocated")
        return (messages["PodsCounted"], written) if "PodsCounted" in messages and amounts in ({}, written) else None

    return await until(look)


async def report(scene, **amounts):
    status = {"status": {"allocated": amounts}}
    await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", status, subresource="status")


async def test_pods_are_counted_but_for_those_of_what_was_placed(scene, east):
    await report(scene, cpu="9", gpu="1")
    async with scene.running(capacity_interval_seconds=0.1):
        entry = await allocated(scene, cpu=2.5, pods=2.0)
        assert entry.counted
        await east.place()
        await allocated(scene, cpu=0.5, pods=1.0)
        assert (await condition(scene, "True", cpu="500m", pods="1"))[0] == ""
        await east.client.delete(PODS, "other", "shop")
        await allocated(scene)


async def test_pods_on_nodes_that_cannot_be_used_do_not_count(scene, east):
    async with scene.running(capacity_interval_seconds=0.1):
        await allocated(scene, cpu=2.5, pods=2.0)
        await east.client.create(PODS, pod("third", "1", node="east-1"))
        await allocated(scene, cpu=3.5, pods=3.0)
        await east.client.merge_patch(NODES, "east-0", {"spec": {"unschedulable": True}})
        await allocated(scene, cpu=1.0, pods=1.0)


@pytest.mark.parametrize(
    ("path", "status"), [("/pods", 403), ("/pods", 404), ("/configmaps", 403), ("/namespaces/shop/replicasets", 403)]
)
async def test_where_pods_or_their_owners_may_not_be_listed_what_is_reported_stays(scene, east, path, status):
    await east.place()
    async with scene.running(capacity_interval_seconds=0.1):
        await allocated(scene, cpu=0.5, pods=1.0)
        await condition(scene, "True")
        scene.faults[path] = status
        message, left = await condition(scene, "False")
        assert message.startswith(f"allocated is as reported: {status}")
        assert left == {"cpu": "500m", "pods": "1"}
        await report(scene, cpu="3")
        entry = await allocated(scene, cpu=3.0, pods=1.0)
        assert (entry.counted, entry.ready) == (False, True)
        scene.faults.clear()
        assert (await allocated(scene, cpu=0.5, pods=1.0)).counted


async def test_a_failure_that_may_pass_leaves_what_was_counted(scene, east):
    async with scene.running(capacity_interval_seconds=0.1):
        await allocated(scene, cpu=2.5, pods=2.0)
        scene.faults["/pods"] = 500
        await east.client.delete(PODS, "other", "shop")
        await scene.looks("east", 3)
        entry = await scene.entry(PLATFORM, "east")
        assert (entry.allocated["cpu"], entry.counted) == (2.5, True)
        scene.faults["/pods"] = 401
        refused = await until(lambda: _refused(scene))
        assert refused.reason == "refusing our credentials"
        scene.faults.clear()
        await allocated(scene, cpu=2.0, pods=1.0)


async def _refused(scene):
    entry = await scene.entry(PLATFORM, "east")
    return entry if entry and not entry.ready else None


@pytest.mark.parametrize(
    ("where", "name", "bound"),
    [
        (counting, "MOST_PODS", Bounds(objects=1, bytes=1 << 20)),
        (counting, "MOST_COLLECTIONS", 0),
        (probing, "LONGEST_COUNT", 1e-9),
    ],
)
async def test_a_cluster_beyond_our_bounds_is_not_counted_and_says_so(scene, east, monkeypatch, where, name, bound):
    await east.place()
    monkeypatch.setattr(where, name, bound)
    async with scene.running(capacity_interval_seconds=0.1):
        message, _ = await condition(scene, "False")
        assert "as reported" in message
        assert (await scene.ready(PLATFORM, "east")).allocated == {}


async def test_whose_the_namespaces_of_a_target_are_is_known(scene, east):
    given = {"name": "given", "annotations": {CLAIM_ANNOTATION: "root:team"}}
    for metadata, manager in ((given, "owner"), ({"name": "theirs"}, "owner"), ({"name": "free"}, "moorage")):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await east.client.create(NAMESPACES, namespace, field_manager=manager)

    async def look():
        entry = await scene.entry(PLATFORM, "east")
        return entry.claims if entry and "given" in entry.claims else None

    async with scene.running(capacity_interval_seconds=0.1):
        claims = await until(look)
    assert claims["given"] == "root:team"
    assert claims["theirs"] is None
    assert claims["default"] is None
    assert not {"free", "kube-system", "moorage-system"} & claims.keys()


async def test_namespaces_that_we_made_and_nothing_is_placed_in_are_known(scene, east):
    for name, manager in (("theirs", "owner"), ("ours", "moorage")):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await east.client.create(NAMESPACES, namespace, field_manager=manager)

    async def look():
        entry = await scene.entry(PLATFORM, "east")
        return entry.unused if entry is not None else ()

    async with scene.running(capacity_interval_seconds=0.1):
        assert await until(look) == ("ours", "shop")
        await east.place()
        await until(look, holds=lambda found: found == ("ours",))

"""Discovery as a worker: the tree, the targets, the answers."""

import pytest

from shared.kube.resources import SYNCTARGETS, WORKSPACES, Resource
from shared.state import INVENTORY, Table
from shared.state import WORKSPACES as STORED_WORKSPACES
from shared.tokens import join

CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
CLUSTERROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)

PLATFORM = "root:platform"


async def allow(scene, user, *names):
    """Let a user use targets of the platform; without names, all of them."""
    rule = {"verbs": ["use"], "apiGroups": [SYNCTARGETS.group], "resources": [SYNCTARGETS.plural]}
    role = {"metadata": {"name": "use"}, "rules": [{**rule, "resourceNames": list(names)} if names else rule]}
    client = scene.hub.cluster(PLATFORM)
    await client.create(CLUSTERROLES, {"apiVersion": CLUSTERROLES.api_version, "kind": "ClusterRole", **role})
    await client.create(
        CLUSTERROLEBINDINGS,
        {
            "apiVersion": CLUSTERROLES.api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "use"},
            "roleRef": {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": "use"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": CLUSTERROLES.group}],
        },
    )


async def test_the_tree_is_walked_and_followed(scene):
    async with scene.running():
        everything = {"root", "root:platform", "root:platform:edge", "root:team", "root:empty"}
        await scene.until(lambda: _equals(scene.paths, everything))
        await scene.workspace("root:team", "later")
        await scene.until(lambda: _equals(scene.paths, everything | {"root:team:later"}))
        await scene.hub.cluster("root").delete(WORKSPACES, "team")
        await scene.until(lambda: _equals(scene.paths, everything - {"root:team"}))


async def _equals(read, expected):
    return await read() == expected


async def test_the_root_is_stored_after_all_below_it(scene):
    async with scene.running():
        await scene.until(lambda: Table(scene.store, STORED_WORKSPACES).get(join("root")))
        entries = await Table(scene.store, STORED_WORKSPACES).entries()
        assert [entry.value.path for entry in entries if entry.value.root] == ["root"]
        assert entries[-1].value.root
        assert len(entries) == 5


async def test_what_vanished_while_nobody_looked_is_deleted(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
    await scene.hub.cluster(PLATFORM).delete(SYNCTARGETS, "east")
    await scene.hub.cluster("root").delete(WORKSPACES, "empty")
    async with scene.running():
        await scene.until(lambda: _absent(scene, PLATFORM, "east"))
        await scene.until(lambda: _equals(scene.paths, {"root", PLATFORM, "root:platform:edge", "root:team"}))


async def _absent(scene, workspace, name):
    return await scene.entry(workspace, name) is None


async def test_a_target_is_described_in_inventory_and_status(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east", taints=[{"key": "spot", "effect": "NoSchedule"}], evictAfter="5m")
    async with scene.running():
        entry = await scene.ready(PLATFORM, "east")
        assert entry.labels["topology.kubernetes.io/region"] == "east"
        assert entry.taints[0].key == "spot"
        assert entry.evict_after == 300
        assert entry.nodes == 3
        assert entry.allocatable["cpu"] == pytest.approx(12)
        assert {(api.group, api.kind) for api in entry.apis} >= {
            ("apps", "Deployment"),
            ("batch", "CronJob"),
            ("", "Secret"),
        }
        assert entry.kubernetes_version.startswith("v1.")
        assert entry.latency["hub"] > 0

        async def written():
            found = await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "east")
            status = found.get("status") or {}
            conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
            return status if conditions.get("Ready") == "True" else None

        status = await scene.until(written)
        assert {each["type"]: each["status"] for each in status["conditions"]} == {
            "Ready": "True",
            "Reachable": "True",
            "APIsDiscovered": "True",
            "HeartbeatHealthy": "True",
        }
        assert status["allocatable"]["cpu"] == "12"
        assert status["nodes"] == 3
        assert status["lastHeartbeatTime"]


async def test_a_workspace_that_serves_no_targets_costs_nobody_else_and_is_tried_again(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.define("root:empty")
        await scene.offer("root:empty", "west")
        await scene.ready("root:empty", "west")


async def test_a_target_that_stops_answering_is_lost_and_comes_back(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(authorization="AllowAll"):
        await scene.ready(PLATFORM, "east")
        scene.sandbox.set_available("east", False)
        lost = await scene.until(lambda: _lost(scene, PLATFORM, "east"))
        assert not lost.ready
        assert lost.reason == "unreachable"
        assert lost.allocatable["cpu"] == pytest.approx(12)
        found = await scene.place()
        assert [(each.reason, each.message) for each in found.rejections] == [("NotReady", "unreachable")]
        assert (await scene.entry(PLATFORM, "east")).lost_since == lost.lost_since
        scene.sandbox.set_available("east", True)
        assert (await scene.ready(PLATFORM, "east")).lost_since == 0
        assert (await scene.place(attempt=2)).targets == ("root:platform/east",)


async def _lost(scene, workspace, name):
    entry = await scene.entry(workspace, name)
    return entry if entry and entry.lost_since else None


async def test_only_what_changes_is_written(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        heartbeat = scene.sandbox.store.revision
        before = await Table(scene.store, INVENTORY).get(join(PLATFORM, "east"))
        await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", {"metadata": {"labels": {"new": "yes"}}})
        await scene.until(lambda: _labelled(scene, "new"))
        after = await Table(scene.store, INVENTORY).get(join(PLATFORM, "east"))
        assert after.revision <= before.revision + 2
        assert scene.sandbox.store.revision <= heartbeat + 4


async def _labelled(scene, label):
    entry = await scene.entry(PLATFORM, "east")
    return label in entry.labels


async def test_rbac_decides_target_by_target(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await scene.offer(PLATFORM, "west")
    await allow(scene, "tess", "west")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place()
        assert found.targets == ("root:platform/west",)
        assert [(each.reason, each.targets) for each in found.rejections] == [
            ("NotAuthorized", ("root:platform/east",))
        ]
        assert (await scene.place(attempt=2, username="mallory")).targets == ()
        anonymous = await scene.place(attempt=3, username="")
        assert [each.message for each in anonymous.rejections] == ["no requester recorded on the Placement"]


async def test_a_permission_on_all_targets_holds_for_each(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await scene.offer(PLATFORM, "west")
    await allow(scene, "tess")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        assert (await scene.place()).targets == ("root:platform/east", "root:platform/west")
        found = await scene.place(attempt=2, kinds=("batch/v1 CronJob",))
        assert found.targets == ("root:platform/east",)
        assert [(each.reason, each.message) for each in found.rejections] == [("MissingAPI", "lack batch/v1 CronJob")]


async def test_a_request_in_error_passes_on(scene):
    async with scene.running():
        found = await scene.place(error="spec.strategy names no scorer X")
        assert found.targets == ()
        assert found.rejections == ()


async def test_a_target_without_kubeconfig_says_so(scene):
    await scene.define(PLATFORM)
    await scene.hub.cluster(PLATFORM).create(
        SYNCTARGETS, {"apiVersion": SYNCTARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": "bare"}}
    )
    async with scene.running(authorization="AllowAll"):
        entry = await scene.until(lambda: scene.entry(PLATFORM, "bare"))
        assert (entry.ready, entry.reason, entry.lost_since) == (False, "without a usable kubeconfig", 0)
        assert [each.message for each in (await scene.place()).rejections] == ["without a usable kubeconfig"]


async def test_a_hub_without_workspaces_is_one_workspace(scene):
    await scene.define("root")
    await scene.offer("root", "east")
    async with scene.running(hub="kubernetes"):
        await scene.ready("", "east")
        assert await scene.paths() == {""}

"""Discovery as a worker: the tree, the targets, the answers."""

import contextlib
import socket
from collections import Counter

import msgspec
import pytest

from services.discovery.probing import Prober
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import SYNCTARGETS, WORKSPACES
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.buckets import WORKSPACES as STORED_WORKSPACES
from tests.support.waiting import until

PLATFORM = "root:platform"
EVERYTHING = {"root", PLATFORM, "root:platform:edge", "root:team", "root:empty"}


async def test_the_tree_is_walked_and_followed(scene):
    async with scene.running():
        await until(lambda: _equals(scene.paths, EVERYTHING))
        await scene.workspace("root:team", "later")
        await until(lambda: _equals(scene.paths, EVERYTHING | {"root:team:later"}))
        await scene.hub.cluster("root").delete(WORKSPACES, "team")
        await until(lambda: _equals(scene.paths, EVERYTHING - {"root:team"}))


async def _equals(read, expected):
    return await read() == expected


async def test_the_root_is_stored_after_all_below_it(scene):
    async with scene.running():
        await until(lambda: Table(scene.store, STORED_WORKSPACES).get(join("root")))
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
        await until(lambda: _absent(scene, PLATFORM, "east"))
        await until(lambda: _equals(scene.paths, {"root", PLATFORM, "root:platform:edge", "root:team"}))


async def _absent(scene, workspace, name):
    return await scene.entry(workspace, name) is None


async def test_a_restart_takes_nothing_away_for_a_moment(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await until(lambda: _equals(scene.paths, EVERYTHING))
    async with scene.recorded(INVENTORY, STORED_WORKSPACES) as news, scene.running():
        await scene.looks("east", 3)
    assert len(news) >= 6  # what was there
    assert [raw.key for raw in news if raw.value is None] == []
    assert all(b'"ready":true' in raw.value for raw in news if raw.key == join(PLATFORM, "east"))


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

        status = await until(written)
        assert {each["type"]: each["status"] for each in status["conditions"]} == {
            "Ready": "True",
            "Reachable": "True",
            "APIsDiscovered": "True",
            "HeartbeatHealthy": "True",
            "PodsCounted": "True",
            "NoStrays": "True",
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
        lost = await until(lambda: _lost(scene, PLATFORM, "east"))
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


def counted(monkeypatch, *latencies):
    """Counts the looks of each copy of the worker; each measures one of these latencies."""
    probe, looks = Prober._probe, Counter()

    async def measured(self, client):
        looks[self] += 1
        latency = latencies[list(looks).index(self)]
        return msgspec.structs.replace(await probe(self, client), latency=latency)

    monkeypatch.setattr(Prober, "_probe", measured)
    return looks


async def test_only_what_changes_is_written(scene, monkeypatch):
    looks = counted(monkeypatch, 10.0)
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await until(lambda: looks.total() >= 5)
        before = await Table(scene.store, INVENTORY).get(join(PLATFORM, "east"))
        hub_before = scene.sandbox.store.revision
        await scene.looks("east", 10)
        assert await Table(scene.store, INVENTORY).get(join(PLATFORM, "east")) == before
        assert scene.sandbox.store.revision == hub_before
        await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", {"metadata": {"labels": {"new": "yes"}}})
        await until(lambda: _labelled(scene, "new"))
        assert (await scene.entry(PLATFORM, "east")).ready


@pytest.mark.parametrize("latencies", [(10.0, 10.0), (10.0, 40.0)])
async def test_one_of_two_copies_looks_and_the_other_agrees(scene, monkeypatch, latencies):
    looks = counted(monkeypatch, *latencies)
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(), scene.running():
        await scene.ready(PLATFORM, "east")
        await until(lambda: looks.total() >= 15)
        looked = Counter(looks)
        before = await Table(scene.store, INVENTORY).get(join(PLATFORM, "east"))
        hub_before = scene.sandbox.store.revision
        await until(lambda: looks.total() >= looked.total() + 10)
        assert len(looks - looked) == 1
        assert await Table(scene.store, INVENTORY).get(join(PLATFORM, "east")) == before
        assert scene.sandbox.store.revision == hub_before
        scene.sandbox.set_available("east", False)
        lost = await until(lambda: _lost(scene, PLATFORM, "east"))
        await until(lambda: _conditioned(scene, "Reachable", "False"))
        assert (await scene.entry(PLATFORM, "east")).lost_since == lost.lost_since
        scene.sandbox.set_available("east", True)
        await scene.ready(PLATFORM, "east")


async def test_a_copy_looks_at_what_another_looked_at_before_it_ended(scene):
    await scene.define(PLATFORM)
    for name in ("east", "west"):
        await scene.offer(PLATFORM, name)
    async with scene.running():
        async with scene.running():
            for name in ("east", "west"):
                await scene.ready(PLATFORM, name)
        for name in ("east", "west"):
            await scene.looks(name, 3)


async def _conditioned(scene, type_, status):
    found = await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "east")
    conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", ())}
    return conditions.get(type_) == status


async def test_an_emptied_bucket_is_filled_again(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        before = await scene.ready(PLATFORM, "east")
        await Table(scene.store, INVENTORY).delete(join(PLATFORM, "east"))
        await Table(scene.store, STORED_WORKSPACES).delete(join(PLATFORM))
        after = await scene.ready(PLATFORM, "east")
        assert (after.apis, after.allocatable) == (before.apis, before.allocatable)
        await until(lambda: _equals(scene.paths, EVERYTHING))


async def test_a_status_that_cannot_be_written_is_written_later(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    scene.faults["/synctargets/east/status"] = 500
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.looks("east", 2)
        scene.faults.clear()
        await until(lambda: _conditioned(scene, "Ready", "True"))


async def test_nodes_and_apis_that_cannot_be_read_leave_what_is_known(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(capacity_interval_seconds=0.1, api_interval_seconds=0.1):
        before = await scene.ready(PLATFORM, "east")
        scene.faults |= {"/nodes": 403, "/apis": 500, "/version": 500}
        await scene.looks("east", 5)
        after = await scene.entry(PLATFORM, "east")
        assert (after.ready, after.allocatable, after.apis) == (True, before.allocatable, before.apis)


@pytest.mark.parametrize("path", ["/readyz", "/api/v1/nodes"])
async def test_refused_credentials_are_not_a_loss_and_a_new_kubeconfig_is_taken_up(scene, path):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(capacity_interval_seconds=0.1):
        await scene.ready(PLATFORM, "east")
        scene.faults[f"/clusters/target:east{path}"] = 401
        refused = await until(lambda: _unready(scene))
        assert (refused.reason, refused.lost_since) == ("refusing our credentials", 0)
        secrets = "GET /clusters/root:platform/api/v1/namespaces/default/secrets/east-kubeconfig"
        asked = scene.requests[secrets]
        await until(lambda: scene.requests[secrets] > asked)
        scene.faults.clear()
        await scene.ready(PLATFORM, "east")


async def _unready(scene):
    entry = await scene.entry(PLATFORM, "east")
    return entry if entry and not entry.ready else None


async def test_a_hub_that_is_away_makes_no_target_lost(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
    scene.faults["/secrets/east-kubeconfig"] = 503
    async with scene.running():
        asked = scene.requests["GET /clusters/root:platform/api/v1/namespaces/default/secrets/east-kubeconfig"]
        await until(lambda: any("secrets" in path and n > asked + 5 for path, n in scene.requests.items()))
        assert (await scene.entry(PLATFORM, "east")).ready


async def test_a_target_that_nobody_listens_at_is_lost_at_once(scene):
    await scene.define(PLATFORM)
    scene.kubeconfigs["target-void"] = scene.kubeconfigs["target-east"].with_name("void")
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        text = scene.kubeconfigs["target-east"].read_text()
        scene.kubeconfigs["target-void"].write_text(
            text.replace(scene.sandbox.url, f"http://127.0.0.1:{taken.getsockname()[1]}")
        )
        await scene.offer(PLATFORM, "void")
        async with scene.running(lost_after_seconds=60.0, refused_limit=2, probe_interval_seconds=0.1):
            entry = await until(lambda: _lost(scene, PLATFORM, "void"))
            assert entry.reason == "unreachable"


async def test_a_workspace_that_refuses_us_costs_nobody_else(scene):
    scene.faults["/clusters/root:team/apis/tenancy.kcp.io/v1alpha1/workspaces"] = 403
    async with scene.running():
        await until(lambda: _equals(scene.paths, EVERYTHING))


async def test_the_walk_is_not_complete_while_a_workspace_does_not_answer(scene):
    path = "/clusters/root:team/apis/tenancy.kcp.io/v1alpha1/workspaces"
    scene.faults[path] = 503
    async with scene.running():
        await until(lambda: scene.requests[f"GET {path}"] >= 3)
        await until(lambda: _equals(scene.paths, EVERYTHING - {"root"}))
        scene.faults.clear()
        await until(lambda: _equals(scene.paths, EVERYTHING))


async def test_depth_and_roots_bound_the_walk(scene):
    async with scene.running(roots="root, root:platform", max_depth=1):
        await until(lambda: _equals(scene.paths, EVERYTHING))  # edge is one below the second root
    async with scene.running(roots="root:platform", max_depth=0):
        await until(lambda: _equals(scene.paths, {PLATFORM}))


@pytest.mark.parametrize("roots", ["", "no such:Root"])
async def test_roots_that_are_none_stop_the_start_with_one_line(scene, roots):
    with pytest.raises(ExceptionGroup) as caught:
        async with scene.running(roots=roots):
            pass
    assert "setting roots" in str(caught.value.exceptions[0])


async def _labelled(scene, label):
    entry = await scene.entry(PLATFORM, "east")
    return label in entry.labels


async def test_a_request_in_error_passes_on(scene):
    async with scene.running():
        found = await scene.place(error="spec.strategy names no scorer X")
        assert found.targets == ()
        assert found.rejections == ()


async def test_another_kubeconfig_is_used_at_once(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(probe_interval_seconds=60.0):
        await scene.ready(PLATFORM, "east")
        ref = {"spec": {"kubeconfigSecretRef": {"name": "missing"}}}
        await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", ref)
        entry = await until(lambda: _unready(scene))
        assert entry.reason == "without a usable kubeconfig"


async def test_a_target_without_kubeconfig_says_so(scene):
    await scene.define(PLATFORM)
    await scene.hub.cluster(PLATFORM).create(
        SYNCTARGETS, {"apiVersion": SYNCTARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": "bare"}}
    )
    async with scene.running(authorization="AllowAll"):
        entry = await until(lambda: scene.entry(PLATFORM, "bare"))
        assert (entry.ready, entry.reason, entry.lost_since) == (False, "without a usable kubeconfig", 0)
        assert [each.message for each in (await scene.place()).rejections] == ["without a usable kubeconfig"]


async def test_a_hub_without_workspaces_is_one_workspace(scene):
    await scene.define("root")
    await scene.offer("root", "east")
    async with scene.running(hub="kubernetes"):
        await scene.ready("", "east")
        assert await scene.paths() == {""}

"""Discovery among targets that are hostile, faulty, or reached by one of its copies only."""

import asyncio
import base64

import msgspec

from services.discovery import probing
from services.discovery.health import Probe
from services.discovery.probing import Prober
from services.discovery.targets import FAULT
from services.sandbox.wire.http import Response
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Bounds
from shared.kube.resources import SECRETS
from shared.pipeline.buckets import INVENTORY
from tests.support.waiting import until

PLATFORM = "root:platform"
BOUND = 15.0
PORT = """
current-context: c
contexts: [{name: c, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: "https://host:99999"}}]
"""


async def _refused(scene, name, reason):
    entry = await scene.entry(PLATFORM, name)
    return entry if entry and entry.reason == reason else None


async def _lost(scene):
    entry = await scene.entry(PLATFORM, "east")
    return entry if entry and entry.lost_since else None


async def test_a_hostile_kubeconfig_costs_its_own_target_only(scene):
    await scene.define(PLATFORM)
    texts = {"port": PORT, "deep": "[" * 200_000, "date": "a: 2001-99-99"}
    for name, text in texts.items():
        data = {"kubeconfig": base64.b64encode(text.encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}}
        await scene.hub.cluster(PLATFORM).create(SECRETS, {**secret, "data": data})
        ref = {"namespace": "default", "name": name}
        kind = {"apiVersion": SYNCTARGETS.api_version, "kind": "SyncTarget"}
        offered = {**kind, "metadata": {"name": name}, "spec": {"kubeconfigSecretRef": ref}}
        await scene.hub.cluster(PLATFORM).create(SYNCTARGETS, offered)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        for name in texts:
            entry = await until(lambda name=name: _refused(scene, name, "without a usable kubeconfig"))
            assert not entry.ready
        await scene.looks("east", 2)


async def test_a_fault_in_a_look_costs_one_target_until_a_look_succeeds(scene, monkeypatch, caplog):
    await scene.define(PLATFORM)
    for name in ("east", "west"):
        await scene.offer(PLATFORM, name)
    faulty = True

    async def version(self, client):
        if faulty and "east" in client.base:
            raise RuntimeError("a bug")
        return "v1.36.0"

    monkeypatch.setattr(Prober, "_version", version)
    async with scene.running(api_interval_seconds=0.1):
        await scene.ready(PLATFORM, "west")
        faulty = False
        await scene.ready(PLATFORM, "east")
        faulty = True
        await until(lambda: _refused(scene, "east", FAULT))
        await scene.looks("west", 2)
        faulty = False
        await scene.ready(PLATFORM, "east")
    assert "look at a target failed" in caplog.text


async def test_a_node_list_without_end_is_cut_off(scene, monkeypatch):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    monkeypatch.setattr(probing, "LONGEST_READ", 0.3)
    handle = scene.sandbox.handle

    async def endless(http):
        if not http.path.endswith("/nodes"):
            return await handle(http)
        scene.requests["nodes"] += 1
        return Response(200, msgspec.json.encode({"metadata": {"continue": "more"}, "items": []}))

    scene.sandbox.handle = endless
    async with scene.running():
        await scene.looks("east", 3)
        entry = await scene.entry(PLATFORM, "east")
        assert not entry.ready
        assert scene.requests["nodes"] > 1
        monkeypatch.setattr(probing, "MOST_NODES", Bounds(objects=3, bytes=1000))
        await scene.looks("east", 2)


async def test_a_copy_that_is_cut_off_loses_nothing_that_another_reaches(scene, monkeypatch):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    probe, cut_off, looking = Prober._probe, [], []

    async def meddled(self, client):
        looking.append(self)
        if self in cut_off:
            return Probe("failed", detail="no route")
        return await probe(self, client)

    made = Prober.__init__

    def noted(self, *args):
        made(self, *args)
        probers.append(self)

    probers = []
    monkeypatch.setattr(Prober, "__init__", noted)
    monkeypatch.setattr(Prober, "_probe", meddled)
    view = Table(scene.store, INVENTORY).follow()
    following = asyncio.create_task(view.run())
    async with scene.running(lost_after_seconds=1.6), scene.running(lost_after_seconds=1.6):
        await scene.ready(PLATFORM, "east")
        cut_off.append(looking[-1])
        seen = []
        async with asyncio.timeout(BOUND):
            async for _ in view.changes():
                entry = view.get(join(PLATFORM, "east"))
                seen.append(entry)
                if entry.answered_at:
                    break
        assert all(not each.lost_since for each in seen)
        assert any(each.doubted_at for each in seen)
        cut_off += probers
        lost = await until(lambda: _lost(scene))
        assert lost.lost_since >= seen[-1].answered_at
    following.cancel()

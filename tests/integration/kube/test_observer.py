"""Status' observer on a scripted server, which is hub and target at once."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from services.status.observe import TargetObserver
from shared.hub.hub import Hub
from shared.hub.targets import TargetClients
from shared.kube.client import Client
from shared.model.refs import PlacementRef
from shared.model.report import ObjectHealth
from shared.model.target import KubeconfigRef, Target
from tests.support.perimeter import BESIDE_US

BOUND = 5.0
MAPS, SECRETS = "/api/v1/configmaps", "/api/v1/secrets"
KINDS = [("v1", "ConfigMap"), ("v1", "Secret")]
EAST = Target(workspace="", name="east", uid="u", kubeconfig=KubeconfigRef(namespace="n", name="k", key="kubeconfig"))
REFUSED = {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "no"}


def kubeconfig(url: str) -> bytes:
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
        }
    ).encode()


def owned(name: str, version: str) -> dict[str, object]:
    annotations = {"placement.moorage.io/owner": "root:team|shop|web"}
    meta = {"name": name, "namespace": "shop", "resourceVersion": version, "annotations": annotations}
    return {"metadata": meta}


class Heard:
    """An observer, and what it was heard of."""

    def __init__(self, clients: TargetClients) -> None:
        self.changed: asyncio.Queue[PlacementRef] = asyncio.Queue()
        self.synced: asyncio.Queue[str] = asyncio.Queue()
        self.slept: list[float] = []
        self.targets = {EAST.id: EAST}
        self.observer = TargetObserver(
            clients,
            self.targets.get,
            changed=lambda ref, target: self.changed.put_nowait(ref),
            synced=self.synced.put_nowait,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def heard(server, reply, client: Client) -> AsyncIterator[Heard]:
    kinds = [
        {"name": name, "kind": kind, "namespaced": True, "verbs": ["list"]}
        for name, kind in (("configmaps", "ConfigMap"), ("secrets", "Secret"))
    ]
    secret = {"data": {"kubeconfig": base64.b64encode(kubeconfig(server.url)).decode()}}
    server.on("GET", "/api/v1/namespaces/n/secrets/k", reply(secret))
    server.on("GET", "/api", reply({"kind": "APIVersions", "versions": ["v1"]}))
    server.on("GET", "/apis", reply({"kind": "APIGroupList", "groups": []}))
    server.on("GET", "/api/v1", reply({"kind": "APIResourceList", "groupVersion": "v1", "resources": kinds}))
    for path in (MAPS, SECRETS):
        server.on("GET", path, reply({"metadata": {"resourceVersion": "1"}, "items": [owned("a", "1")]}))
    clients = TargetClients(Hub(client, "kubernetes"), user_agent="test", timeout=2.0, perimeter=BESIDE_US)
    heard = Heard(clients)
    yield heard
    await heard.observer.close()
    await clients.close()


async def test_kinds_are_followed_again_after_a_watch_was_refused(server, reply, heard):
    heard.observer.want(EAST.id, KINDS)
    async with asyncio.timeout(BOUND):
        opened = [await server.watch(), await server.watch()]
        assert [await heard.synced.get() for _ in KINDS] == [EAST.id] * 2
        server.on("WATCH", MAPS, reply(REFUSED, 401))
        for watch in opened:
            watch.end()
        await server.until(lambda: server.count("GET", "/api/v1/namespaces/n/secrets/k") >= 2)
        server.on("WATCH", MAPS)
        paths = {(await server.watch()).query["resourceVersion"] for _ in KINDS}
        assert paths == {"1"}
    await server.until(lambda: server.count("GET", SECRETS, watch="true") >= 2)
    assert server.count("GET", MAPS, watch="true") >= 3


async def test_a_bug_of_ours_costs_one_kind_of_one_target_for_a_while(server, reply, heard, caplog, monkeypatch):
    broken = owned("a", "1")
    broken["metadata"]["annotations"] = {"placement.moorage.io/owner": "boom|shop|web"}
    server.on("GET", MAPS, reply({"metadata": {"resourceVersion": "1"}, "items": [broken]}))

    def health(obj, kinds):
        if "boom" in str(obj):
            raise RuntimeError("a bug")
        return real(obj, kinds)

    from services.status import observe

    real = observe.health
    monkeypatch.setattr(observe, "health", health)
    heard.observer.want(EAST.id, KINDS)
    async with asyncio.timeout(BOUND):
        assert await heard.changed.get() == PlacementRef(workspace="root:team", namespace="shop", name="web")
        await server.until(lambda: server.count("GET", MAPS) >= 2)
        server.on("GET", MAPS, reply({"metadata": {"resourceVersion": "2"}, "items": [owned("a", "2")]}))
        await heard.changed.get()
    assert "ConfigMap in /east is not followed" in caplog.text
    assert "a bug" in caplog.text


async def test_silence_is_per_target(server, heard):
    assert heard.observer.silence(EAST.id) == 0.0
    heard.observer.want(EAST.id, KINDS)
    async with asyncio.timeout(BOUND):
        await heard.synced.get()
    assert 0.0 <= heard.observer.silence(EAST.id) < BOUND
    assert heard.observer.silence("/west") == 0.0
    await heard.observer.close()
    assert heard.observer.silence(EAST.id) == 0.0


async def test_nothing_is_said_of_another_cluster_that_was_seen_of_the_former(server, reply, heard):
    known = ObjectHealth(ref="v1 ConfigMap shop/a", health="Unknown")
    heard.observer.want(EAST.id, KINDS[:1])
    async with asyncio.timeout(BOUND):
        await heard.synced.get()
        assert heard.observer.look(EAST.id, known, late=True).health == "Healthy"
        server.on("GET", MAPS, reply({"metadata": {"resourceVersion": "9"}, "items": []}))
        server.on("GET", "/api/v1/namespaces/kube-system", reply({"metadata": {"uid": "another-one"}}))
        heard.observer.note(EAST.id)  # the same as it was
        assert heard.synced.empty()
        heard.targets[EAST.id] = msgspec.structs.replace(EAST, cluster="another-one")
        heard.observer.note(EAST.id)
        await heard.synced.get()
    assert heard.observer.look(EAST.id, known, late=True).health == "Unhealthy"

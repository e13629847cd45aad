"""Rule 15: a cluster is one cluster, whatever number of SyncTargets offer it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.discovery.clusters import DUPLICATE, UNIDENTIFIED
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.resources import SYNCTARGETS
from shared.hub.targets import TargetClients
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import NotAllowed
from shared.kube.resources import CONFIGMAPS, NAMESPACES, SECRETS
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY
from shared.process import audit
from tests.support.discovery import Scene, opened
from tests.support.manifests import condition
from tests.support.perimeter import BESIDE_US
from tests.support.waiting import until

PLATFORM, EDGE = "root:platform", "root:platform:edge"
KUBE_SYSTEM = "GET /clusters/target:east/api/v1/namespaces/kube-system"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        for workspace in (PLATFORM, EDGE):
            await scene.define(workspace)
        yield scene


async def again(scene: Scene, workspace: str, name: str, cluster: str = "east", host: str = "127.0.0.1") -> None:
    """Offer a cluster by a SyncTarget of another name, and by another name of its host."""
    text = scene.kubeconfigs[f"target-{cluster}"].read_text().replace("127.0.0.1", host)
    client = scene.hub.cluster(workspace)
    data = {"kubeconfig": base64.b64encode(text.encode()).decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": data}
    await client.create(SECRETS, secret)
    ref = {"namespace": "default", "name": name}
    kind = {"apiVersion": SYNCTARGETS.api_version, "kind": "SyncTarget"}
    await client.create(SYNCTARGETS, {**kind, "metadata": {"name": name}, "spec": {"kubeconfigSecretRef": ref}})


async def entry(scene: Scene, workspace: str, name: str, reason: str) -> Target:
    """The inventory's entry, once it is not ready for this reason."""

    async def look() -> Target | None:
        found = await scene.entry(workspace, name)
        return found if found and not found.ready and found.reason == reason else None

    found: Target = await until(look)
    return found


async def said(scene: Scene, workspace: str, name: str, reason: str) -> dict[str, Any]:
    """The SyncTarget, once its condition Ready has this reason."""

    async def look() -> dict[str, Any] | None:
        found = await scene.hub.cluster(workspace).get(SYNCTARGETS, name)
        conditions = (found.get("status") or {}).get("conditions") or ()
        return found if any(each["type"] == "Ready" and each["reason"] == reason for each in conditions) else None

    found: dict[str, Any] = await until(look)
    return found


async def test_a_provider_that_offers_a_cluster_twice_has_the_second_refused_by_name(scene, caplog):
    await scene.offer(PLATFORM, "east")
    before = audit.refusals["DuplicateCluster"]
    async with scene.running():
        first = await scene.ready(PLATFORM, "east")
        await again(scene, PLATFORM, "alias", host="localhost")
        refused = await entry(scene, PLATFORM, "alias", DUPLICATE)
        found = await said(scene, PLATFORM, "alias", "DuplicateCluster")
        assert (await scene.ready(PLATFORM, "east")).cluster == first.cluster == refused.cluster
    async with Client(load_kubeconfig(scene.kubeconfigs["target-east"])) as client:
        uid = (await client.get(NAMESPACES, "kube-system"))["metadata"]["uid"]
    assert first.cluster == found["status"]["clusterUid"] == uid
    assert "SyncTarget east, which was first" in condition(found["status"], "Ready")["message"]
    assert audit.refusals["DuplicateCluster"] == before + 1
    [record] = [record for record in caplog.records if record.name == "moorage.audit"]
    assert (record.target, record.holder) == (f"{PLATFORM}/alias", f"{PLATFORM}/east")


async def test_a_tenant_that_offers_a_cluster_of_another_workspace_is_refused_and_not_told_whose_it_is(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await again(scene, EDGE, "mine")
        await entry(scene, EDGE, "mine", DUPLICATE)
        found = await said(scene, EDGE, "mine", "DuplicateCluster")
    assert "another SyncTarget" in condition(found["status"], "Ready")["message"]
    shown = json.dumps([found["status"]["conditions"], found["status"]["clusterUid"]])
    assert f"{PLATFORM}/" not in shown
    assert "east" not in shown


async def test_a_duplicate_stays_one_over_restarts_and_for_every_copy(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
    await again(scene, PLATFORM, "alias")
    async with scene.running(), scene.running():
        await entry(scene, PLATFORM, "alias", DUPLICATE)
        await scene.looks("east", 8)
        assert (await scene.ready(PLATFORM, "east")).ready
        await entry(scene, PLATFORM, "alias", DUPLICATE)


async def test_a_duplicate_is_never_ready_for_a_moment(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running(), scene.running():
        await scene.ready(PLATFORM, "east")
        await again(scene, PLATFORM, "alias")
        await entry(scene, PLATFORM, "alias", DUPLICATE)
        seen = []
        for _ in range(50):
            found = await scene.entry(PLATFORM, "alias")
            seen.append(found is not None and found.ready)
            await scene.looks("east", 1)
        assert not any(seen)


async def test_when_the_first_one_goes_the_other_takes_over(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await again(scene, EDGE, "heir")
        await entry(scene, EDGE, "heir", DUPLICATE)
        await scene.hub.cluster(PLATFORM).delete(SYNCTARGETS, "east")
        await scene.ready(EDGE, "heir")


async def test_an_inventory_that_was_emptied_does_not_give_the_cluster_to_the_duplicate(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await again(scene, PLATFORM, "alias")
        await said(scene, PLATFORM, "alias", "DuplicateCluster")
    table = Table(scene.store, INVENTORY)
    for name in ("east", "alias"):
        await table.delete(join(PLATFORM, name))
    async with scene.running(lost_after_seconds=3.0):
        await scene.ready(PLATFORM, "east")
        await entry(scene, PLATFORM, "alias", DUPLICATE)


async def test_a_tenant_that_writes_the_uid_of_anothers_cluster_into_its_status_takes_nothing(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        first = await scene.ready(PLATFORM, "east")
        await again(scene, EDGE, "squatter", cluster="west")
        await scene.ready(EDGE, "squatter")
        forged = {"status": {"clusterUid": first.cluster}}
        await scene.hub.cluster(EDGE).merge_patch(SYNCTARGETS, "squatter", forged, subresource="status")
        await scene.looks("east", 5)
        assert (await scene.ready(PLATFORM, "east")).ready
        found = await scene.ready(EDGE, "squatter")
        assert found.cluster != first.cluster


async def test_a_provider_whose_kubeconfig_may_not_read_kube_system_is_not_ready_and_told_so(scene):
    await scene.offer(PLATFORM, "east")
    scene.faults["/namespaces/kube-system"] = 403
    async with scene.running():
        refused = await entry(scene, PLATFORM, "east", UNIDENTIFIED)
        found = await said(scene, PLATFORM, "east", "ClusterUnknown")
        assert refused.cluster == ""
        assert "kube-system cannot be read" in condition(found["status"], "Ready")["message"]
        scene.faults.clear()
        await scene.ready(PLATFORM, "east")


async def test_an_operator_may_have_clusters_told_apart_by_address_where_kube_system_is_not_readable(scene):
    await scene.offer(PLATFORM, "east")
    await again(scene, PLATFORM, "alias")
    await scene.offer(PLATFORM, "west")
    scene.faults["/namespaces/kube-system"] = 403
    async with scene.running(cluster_identity="KubeSystemOrAddress"):
        assert (await scene.ready(PLATFORM, "west")).cluster.startswith("address-")

        async def one() -> list[Target]:
            found = [await scene.entry(PLATFORM, name) for name in ("east", "alias")]
            return [each for each in found if each and each.duplicate]

        [refused] = await until(one)
        assert refused.reason == DUPLICATE


async def test_which_cluster_it_is_is_asked_once_and_not_at_every_look(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running(capacity_interval_seconds=0.1, followed_targets=0):  # its kinds are read once
        await scene.ready(PLATFORM, "east")
        asked = scene.requests[KUBE_SYSTEM]
        await scene.looks("east", 10)
        assert scene.requests[KUBE_SYSTEM] == asked == 1


async def test_a_cluster_that_a_changed_kubeconfig_leads_to_is_asked_anew(scene):
    await scene.offer(PLATFORM, "east")
    await scene.offer(PLATFORM, "west")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        west = await scene.ready(PLATFORM, "west")
        content = yaml.safe_load(scene.kubeconfigs["target-east"].read_text())
        data = {"kubeconfig": base64.b64encode(yaml.safe_dump(content).encode()).decode()}
        await scene.hub.cluster(PLATFORM).merge_patch(SECRETS, "west-kubeconfig", {"data": data}, "default")
        scene.faults["target:west/readyz"] = 401  # its old credentials are refused, so that the Secret is read again
        refused = await entry(scene, PLATFORM, "west", DUPLICATE)
        assert refused.cluster != west.cluster


async def test_a_provider_that_shows_discovery_one_cluster_has_nothing_placed_in_another(scene):
    """Its kubeconfig leads elsewhere once discovery has looked: binding and status read it, and go nowhere."""
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        found = await scene.ready(PLATFORM, "east")
    clients = TargetClients(Hub(scene.hub, "kcp"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    client = await clients.get(found)
    await client.list(CONFIGMAPS, "default")
    await clients.forget(found.id)
    good = scene.kubeconfigs["target-east"].read_bytes()
    for content, leads in ((scene.kubeconfigs["target-west"].read_bytes(), False), (good, True)):
        data = {"kubeconfig": base64.b64encode(content).decode()}
        await scene.hub.cluster(PLATFORM).merge_patch(SECRETS, "east-kubeconfig", {"data": data}, "default")
        client = await clients.get(found)
        if leads:
            await client.list(CONFIGMAPS, "default")
            continue
        scene.requests.clear()
        before = audit.refusals["AnotherCluster"]
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
        with pytest.raises(NotAllowed, match="another cluster"):
            await client.list(CONFIGMAPS, "default")
        with pytest.raises(NotAllowed, match="another cluster"):
            await client.create(CONFIGMAPS, body)
        with pytest.raises(NotAllowed):
            async with client.stream("/api/v1/configmaps", params={}, idle=1.0):
                pass
        assert {path for path in scene.requests if "target:west" in path} == {KUBE_SYSTEM.replace("east", "west")}
        assert audit.refusals["AnotherCluster"] == before + 1
    await clients.close()


async def test_which_cluster_it_is_is_proven_once_per_connection(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        found = await scene.ready(PLATFORM, "east")
    clients = TargetClients(Hub(scene.hub, "kcp"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    scene.requests.clear()
    client = await clients.get(found)
    await asyncio.gather(*(client.list(CONFIGMAPS, "default") for _ in range(5)))
    assert scene.requests[KUBE_SYSTEM] == 1
    await clients.close()

"""`moorage cluster leave` where the command does not reach a cluster: whether workers do says what that means."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.hub.names import OWNER_ANNOTATION, SYSTEM_NAMESPACE, owner_of
from shared.hub.resources import SYNCTARGETS
from shared.kube.applyset import APPLYSET_ID
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, NAMESPACES
from shared.model.refs import PlacementRef
from tests.support.client import if_there
from tests.support.discovery import Scene, opened
from tests.support.manifests import obj
from tests.support.process import process

PLATFORM = "root:platform"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        await scene.define(PLATFORM)
        await scene.hub.cluster(PLATFORM).create(
            SYNCTARGETS,
            obj(
                "SyncTarget",
                SYNCTARGETS.api_version,
                name="east",
                namespace="",
                spec={"clusterProfileRef": {"namespace": "fleet", "name": "east"}},
            ),
        )
        yield scene


async def becomes(scene: Scene, *, ready: bool) -> None:
    """Workers reach it, or do no more."""
    condition = {
        "type": "Ready",
        "status": str(ready),
        "reason": "Ready" if ready else "Unreachable",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"conditions": [condition]}}
    await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", status, subresource="status")


async def leave(scene: Scene, *words: str, code: int) -> str:
    where = ("--kubeconfig", str(scene.kubeconfigs["admin"]), "--workspace", PLATFORM)
    async with process(["moorage", "cluster", "leave", "east", *words, *where], os.environ) as running:
        assert await running.ends() == code, running.output
        return running.output


async def offered(scene: Scene) -> bool:
    return await if_there(scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "east")) is not None


@pytest.mark.parametrize("how", ["--abandon", "--drain", ""])
async def test_a_cluster_that_workers_reach_is_neither_abandoned_nor_let_go_unseen(scene: Scene, how: str) -> None:
    await becomes(scene, ready=True)
    said = await leave(scene, *filter(None, [how]), code=1)
    assert "root:platform/east is Ready, so that workers reach it" in said
    assert "leave east --abandon" not in said
    assert await offered(scene)


async def test_one_that_nobody_reaches_is_abandoned(scene: Scene) -> None:
    await becomes(scene, ready=False)
    await leave(scene, "--abandon", code=0)
    assert not await offered(scene)


async def test_it_is_looked_into_by_its_administrators_kubeconfig(scene: Scene) -> None:
    await becomes(scene, ready=True)
    owner = scene.kubeconfigs["target-east"]
    async with Client(load_kubeconfig(owner)) as cluster:
        await cluster.create(NAMESPACES, obj("Namespace", "v1", name=SYSTEM_NAMESPACE, namespace=""))
        unseen = obj("ConfigMap", "v1", name="of-a-stranger", namespace=SYSTEM_NAMESPACE)
        owner_of_it = owner_of(PlacementRef(workspace="root:hidden", namespace="shop", name="web"))
        unseen["metadata"] |= {"labels": {APPLYSET_ID: "one"}, "annotations": {OWNER_ANNOTATION: owner_of_it}}
        await cluster.create(CONFIGMAPS, unseen)
        said = await leave(scene, "--cluster-kubeconfig", str(owner), code=1)
        assert "1 placements are in root:platform/east (root:hidden/shop/web)" in said
        await cluster.delete(CONFIGMAPS, "of-a-stranger", SYSTEM_NAMESPACE)
    await leave(scene, "--cluster-kubeconfig", str(owner), code=0)
    assert not await offered(scene)

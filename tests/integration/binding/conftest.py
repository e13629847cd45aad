"""Binders at work on a scene."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from services.binding.binder import Binder
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES
from tests.integration.binding.places import REAL
from tests.support import apiserver, servers
from tests.support.binders import binders
from tests.support.client import if_there
from tests.support.scene import Scene, opened
from tests.support.waiting import until

CONTROLLERS = (*apiserver.CONTROLLERS, "ttl-after-finished-controller")
WITHIN = 60.0  # seconds until the controllers have cleared a namespace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    """A real API server with the controllers that matter, which all tests of a session share."""
    binaries = servers.find()
    if binaries is None:
        reason = f"no kube-apiserver in {servers.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    with apiserver.servers(binaries, tmp_path_factory.mktemp("cluster")) as running:
        yield running.apiserver("east", controllers=CONTROLLERS)


@pytest.fixture
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        if getattr(request, "param", "") != REAL:
            yield scene
            return
        server: apiserver.ApiServer = request.getfixturevalue("cluster")
        kubeconfig = server.kubeconfigs[apiserver.ADMIN]
        async with Client(load_kubeconfig(kubeconfig), timeout=20) as east:
            for name in ("shop", "moorage-system"):
                await _sweep(east, name)
            scene.targets["east"] = east
            await scene.use_kubeconfig("east", kubeconfig.read_bytes())
            yield scene


async def _sweep(client: Client, namespace: str) -> None:
    """Delete a namespace, with what finalizers of a test that failed may hold."""
    if await if_there(client.delete(NAMESPACES, namespace)) is None:
        return
    for resource in (DEPLOYMENTS, CONFIGMAPS):
        for each in (await client.list(resource, namespace)).items:
            free = {"metadata": {"finalizers": None}}
            await if_there(client.merge_patch(resource, each["metadata"]["name"], free, namespace))

    async def gone() -> bool:
        return await if_there(client.get(NAMESPACES, namespace)) is None

    await until(gone, "the namespace is gone", within=WITHIN)


@pytest.fixture
async def new_binder(scene: Scene) -> AsyncIterator[Callable[..., Binder]]:
    """Makes Binders, each as if it were in a process of its own."""
    async with binders(scene) as make:
        yield make


@pytest.fixture
def binder(new_binder: Callable[..., Binder]) -> Binder:
    return new_binder()

"""A hub with targets, in this process or with real API servers, and a binder over it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.binding.binder import Binder
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.resources import NAMESPACES
from tests.security.places import EVERYBODY, REAL_HUB, SANDBOX
from tests.support.apiserver import ADMIN
from tests.support.binders import binders
from tests.support.kubernetes import TESS, Kubernetes, kubernetes, swept_hub, swept_target
from tests.support.manifests import obj
from tests.support.scene import Scene, offer, opened


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """Real API servers, which all tests of a session share."""
    users = [(TESS, ["team"]), *((name, ["everybody"]) for name in EVERYBODY)]
    with kubernetes(tmp_path_factory.mktemp("kubernetes"), users) as running:
        yield running


@pytest.fixture
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """In the sandbox; or with a real API server as target east, and as the hub as well, where a test asks for it."""
    where = getattr(request, "param", SANDBOX)
    real: Kubernetes | None = None if where == SANDBOX else request.getfixturevalue("servers")
    async with opened(tmp_path) as scene:
        if real is None:
            yield scene
            return
        async with swept_target(real.target) as east, swept_hub(real.hub) as hub:
            if where == REAL_HUB:
                scene.on(hub, team="", platform="")
                scene.logins = {TESS: load_kubeconfig(real.hub.kubeconfigs[TESS])}
                await hub.create(NAMESPACES, obj("Namespace", name="shop", namespace=""))
                await offer(scene, "east")
            scene.targets["east"] = east
            await scene.use_kubeconfig("east", real.target.kubeconfigs[ADMIN].read_bytes())
            yield scene


@pytest.fixture
async def binder(scene: Scene) -> AsyncIterator[Binder]:
    async with binders(scene) as make:
        yield make()

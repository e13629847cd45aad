"""What workloads refer to, followed in an API server over HTTP (the sandbox)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.controller.referred import Referred
from services.sandbox.wire.http import Request, Response
from shared.hub.references import REFERRED
from shared.hub.workload import select
from shared.kube.resources import CONFIGMAPS, SECRETS, SERVICES
from shared.model.refs import PlacementRef
from tests.support.manifests import deployment
from tests.support.scene import BOUND, TEAM, Scene

WEB = PlacementRef(workspace=TEAM, namespace="shop", name="web")
OTHER = PlacementRef(workspace=TEAM, namespace="shop", name="other")
USES = select(
    deployment(
        container={"envFrom": [{"configMapRef": {"name": "settings"}}]},
        volumes=[{"name": "tls", "secret": {"secretName": "cert"}}],
    )
)
PLAIN = select(deployment("other"))


class Watched:
    """A Referred at work, and what it told."""

    def __init__(self, scene: Scene) -> None:
        self.told: asyncio.Queue[PlacementRef] = asyncio.Queue()
        self.referred = Referred(scene.team, self.told.put_nowait)

    async def versions(self, ref: PlacementRef = WEB, *workload: Any) -> dict[str, str]:
        found = await self.referred.versions(ref, workload or (USES,), BOUND)
        return dict(each.split("@") for each in found)  # type: ignore[misc]  # each is a pair

    async def next(self) -> PlacementRef:
        async with asyncio.timeout(BOUND):
            return await self.told.get()


@pytest.fixture
async def watched(scene: Scene) -> AsyncIterator[Watched]:
    watched = Watched(scene)
    running = asyncio.create_task(watched.referred.run())
    yield watched
    running.cancel()
    await asyncio.wait([running])


def service(name: str, **selector: str) -> dict[str, Any]:
    spec = {"selector": selector, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def secret(name: str, content: str) -> dict[str, Any]:
    data = {"stringData": {"key": content}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, **data}


def refuse_secrets(scene: Scene, status: int) -> None:
    sandbox = scene.ready.sandbox
    handle = sandbox.handle

    async def refusing(request: Request) -> Response:
        if request.path.endswith("/namespaces/shop/secrets"):
            return Response(status, b"{}")
        return await handle(request)

    sandbox.handle = refusing  # type: ignore[method-assign]  # it is looked up for every request


async def test_what_goes_along_has_a_version_and_what_is_absent_has_none(scene: Scene, watched: Watched) -> None:
    await scene.config()
    await scene.config("unrelated")
    for name in ("web", "other"):
        await scene.team.create(SERVICES, service(name, app=name))
    assert set(await watched.versions()) == {"ConfigMap settings", "Service web"}
    assert set(await watched.versions(OTHER, PLAIN)) == {"Service other"}
    assert watched.told.empty()


async def test_a_change_is_told_to_whom_it_concerns_and_is_another_version(scene: Scene, watched: Watched) -> None:
    await scene.config()
    before = await watched.versions()
    await watched.versions(OTHER, PLAIN)
    await scene.team.merge_patch(CONFIGMAPS, "settings", {"data": {"key": "new"}}, "shop")
    assert await watched.next() == WEB
    after = await watched.versions()
    assert before.keys() == after.keys()
    assert before != after
    await scene.team.create(SECRETS, secret("cert", "hidden"))
    assert await watched.next() == WEB
    assert set(await watched.versions()) == {"ConfigMap settings", "Secret cert"}
    await scene.team.create(SERVICES, service("front", app="other"))
    assert await watched.next() == OTHER
    await scene.team.merge_patch(SERVICES, "front", {"spec": {"selector": {"app": "web"}}}, "shop")
    assert {await watched.next(), await watched.next()} == {WEB, OTHER}
    await scene.team.delete(CONFIGMAPS, "settings", "shop")
    assert await watched.next() == WEB
    assert set(await watched.versions()) == {"Secret cert", "Service front"}
    assert watched.told.empty()


async def test_who_is_forgotten_is_told_nothing(scene: Scene, watched: Watched) -> None:
    await scene.config()
    await watched.versions()
    await watched.versions(OTHER, USES)
    watched.referred.forget(WEB)
    await scene.team.merge_patch(CONFIGMAPS, "settings", {"data": {"key": "new"}}, "shop")
    assert await watched.next() == OTHER
    assert watched.told.empty()


async def test_of_a_secret_nothing_but_its_version_is_known(scene: Scene, watched: Watched) -> None:
    made = await scene.team.create(SECRETS, secret("cert", "hidden"))
    version = f"{made['metadata']['uid']}/{made['metadata']['resourceVersion']}"
    assert await watched.versions() == {"Secret cert": version}


async def test_only_what_is_referred_to_is_followed(scene: Scene, watched: Watched) -> None:
    requests = scene.count_requests(TEAM)
    await watched.versions()
    await watched.versions(WEB, select({**deployment(), "kind": "Unknown"}))
    asked = {each.partition("/namespaces/shop/")[2] for each in requests}
    assert asked <= {"configmaps", "secrets", "services"}
    assert set(REFERRED) >= {"ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim"}


@pytest.mark.parametrize("status", [403, 404])
async def test_kinds_that_cannot_be_read_count_as_absent(scene: Scene, watched: Watched, status: int) -> None:
    await scene.config()
    await scene.team.create(SECRETS, secret("cert", "hidden"))
    refuse_secrets(scene, status)
    assert set(await watched.versions()) == {"ConfigMap settings"}


async def test_a_server_that_fails_is_waited_for(scene: Scene, watched: Watched) -> None:
    refuse_secrets(scene, 503)
    with pytest.raises(TimeoutError):
        await watched.referred.versions(WEB, [USES], 0.05)

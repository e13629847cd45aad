"""The controller's picture of a workspace as it begins, over HTTP (the sandbox)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.controller.workspace import WorkspaceWatch
from services.sandbox.wire.http import Request, Response
from shared.hub.access import AllowAll
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, POLICIES, WORKLOAD_KINDS
from shared.kube.resources import Resource
from tests.support.scene import TEAM, Scene
from tests.support.waiting import until

ALL = (PLACEMENTS, DECISIONS, BINDINGS, POLICIES, WORKLOAD_KINDS)


@asynccontextmanager
async def watching(scene: Scene) -> AsyncIterator[WorkspaceWatch]:
    watch = WorkspaceWatch(
        TEAM,
        scene.team,
        AllowAll(),
        notify=lambda _: None,
        touched=lambda _: None,
        policy_changed=lambda _: None,
        kind_changed=lambda _: None,
        override_changed=lambda _: None,
        freed=lambda: None,
    )
    running = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        running.cancel()
        await asyncio.wait([running])


class Unserved:
    """Kinds that the team's workspace does not serve (yet), and how often each was asked for."""

    def __init__(self, scene: Scene, *kinds: Resource) -> None:
        self.kinds = {each.plural for each in kinds}
        self.asked = dict.fromkeys(self.kinds, 0)
        self._handle = scene.ready.sandbox.handle
        scene.ready.sandbox.handle = self._answer  # type: ignore[method-assign]  # it is looked up for every request

    async def _answer(self, request: Request) -> Response:
        plural = request.path.rpartition("/")[2]
        if plural not in self.kinds:
            return await self._handle(request)
        self.asked[plural] += 1
        return Response(404, b'{"kind": "Status", "reason": "NotFound", "message": "not found", "code": 404}')


@pytest.mark.parametrize("kind", [DECISIONS, BINDINGS, POLICIES], ids=lambda each: each.kind)
async def test_where_there_are_placements_the_rest_is_waited_for_though_it_is_not_served_yet(
    scene: Scene, kind: Resource
) -> None:
    """Else each Placement would count as never decided, and be decided anew."""
    await scene.place("web")
    unserved = Unserved(scene, kind)
    async with watching(scene) as watch:
        await until(lambda: watch.placement(watch.ref("shop", "web")) is not None and unserved.asked[kind.plural] > 1)
        assert not watch.synced


async def test_a_workspace_that_serves_none_of_our_kinds_is_waited_for_by_nobody(scene: Scene) -> None:
    unserved = Unserved(scene, *ALL)
    async with watching(scene) as watch:
        await until(lambda: watch.synced)
    assert set(unserved.asked.values()) != {0}


async def test_a_hub_of_a_release_without_workload_kinds_is_not_waited_for(scene: Scene) -> None:
    Unserved(scene, WORKLOAD_KINDS)
    async with watching(scene) as watch:
        await until(lambda: watch.synced)

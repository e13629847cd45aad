"""Discovery and workspaces that are being deleted, which takes as long as finalizers do."""

import asyncio

from services.sandbox.errors import ApiError
from services.sandbox.wire.http import Response, refusal
from shared.hub.resources import WORKSPACES
from tests.support.waiting import until

TEAM = "root:team"
KEPT = {"metadata": {"finalizers": ["test/keep"]}}


async def begin_to_delete(scene):
    root = scene.hub.cluster("root")
    await root.merge_patch(WORKSPACES, "team", KEPT)
    await root.delete(WORKSPACES, "team")
    found = await root.get(WORKSPACES, "team")
    assert found["metadata"]["deletionTimestamp"]


async def let_go(scene):
    await scene.hub.cluster("root").merge_patch(WORKSPACES, "team", {"metadata": {"finalizers": None}})


async def test_a_workspace_is_followed_until_its_deletion_is_done(scene):
    await scene.define(TEAM)
    await scene.offer(TEAM, "east")
    async with scene.running():
        await scene.ready(TEAM, "east")
        await begin_to_delete(scene)
        await scene.offer(TEAM, "west")  # its API is served still
        await scene.ready(TEAM, "west")
        assert TEAM in await scene.paths()
    async with scene.running():  # a process that begins now follows it as well
        await scene.looks("east", 2)
        assert TEAM in await scene.paths()
        await let_go(scene)
        await until(lambda: _without(scene, TEAM))


async def test_a_workspace_that_is_being_deleted_and_serves_nothing_any_more_is_left(scene):
    handle, emptied, asked = scene.sandbox.handle, asyncio.Event(), asyncio.Event()
    cluster = (await scene.hub.cluster("root").get(WORKSPACES, "team"))["spec"]["URL"].rpartition("/clusters/")[2]

    async def silence():
        await emptied.wait()
        for nothing in ():
            yield nothing

    async def empty(http):
        if f"/clusters/{cluster}/" not in f"{http.path}/" or not http.path.endswith("/workspaces"):
            return await handle(http)
        if emptied.is_set():
            return refusal(ApiError(403, "Forbidden", "there is no such workspace"))
        if http.flag("watch"):
            asked.set()
            return Response(200, stream=silence())
        return await handle(http)

    scene.sandbox.handle = empty
    async with scene.running():
        await until(lambda: _with(scene, TEAM))
        await asyncio.wait_for(asked.wait(), 5.0)
        await begin_to_delete(scene)
        emptied.set()
        await until(lambda: _without(scene, TEAM))
        await let_go(scene)
        await until(lambda: _gone(scene))
        assert TEAM not in await scene.paths()


async def _with(scene, path):
    return path in await scene.paths()


async def _without(scene, path):
    return path not in await scene.paths()


async def _gone(scene):
    return "team" not in {each["metadata"]["name"] for each in (await scene.hub.cluster("root").list(WORKSPACES)).items}

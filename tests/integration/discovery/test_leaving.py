"""Discovery and what goes: targets, kinds, workspaces, whose deletion takes as long as finalizers do."""

import asyncio

from services.sandbox.errors import ApiError
from services.sandbox.wire.http import Response, refusal
from shared.hub.resources import SYNCTARGETS, WORKSPACES
from shared.kube.resources import CRDS
from tests.support.waiting import until

PLATFORM = "root:platform"
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


async def test_a_deleted_target_leaves_and_a_new_one_of_its_name_begins_anew(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        first = await scene.ready(PLATFORM, "east")
        await scene.hub.cluster(PLATFORM).delete(SYNCTARGETS, "east")
        await until(lambda: _absent(scene, PLATFORM, "east"))
        await scene.offer(PLATFORM, "east")
        assert (await scene.ready(PLATFORM, "east")).uid != first.uid


async def test_targets_leave_with_their_workspace(scene):
    await scene.define(TEAM)
    await scene.offer(TEAM, "east")
    async with scene.running():
        await scene.ready(TEAM, "east")
        await scene.hub.cluster("root").delete(WORKSPACES, "team")
        await until(lambda: _absent(scene, TEAM, "east"))
        looks = scene.requests["GET /clusters/target:east/readyz"]
        await scene.workspace("root", "team")
        await until(lambda: _with(scene, TEAM))
        assert scene.requests["GET /clusters/target:east/readyz"] <= looks + 1


async def test_targets_leave_with_a_kind_or_a_workspace_that_went_while_nobody_looked(scene):
    for workspace, name in ((PLATFORM, "east"), (TEAM, "west")):
        await scene.define(workspace)
        await scene.offer(workspace, name)
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(TEAM, "west")
    await scene.hub.cluster(PLATFORM).delete(CRDS, SYNCTARGETS.name)
    await scene.hub.cluster("root").delete(WORKSPACES, "team")
    async with scene.running():
        await until(lambda: _absent(scene, PLATFORM, "east"))
        await until(lambda: _absent(scene, TEAM, "west"))


async def _absent(scene, workspace, name):
    return await scene.entry(workspace, name) is None


async def _with(scene, path):
    return path in await scene.paths()


async def _without(scene, path):
    return path not in await scene.paths()


async def _gone(scene):
    return "team" not in {each["metadata"]["name"] for each in (await scene.hub.cluster("root").list(WORKSPACES)).items}

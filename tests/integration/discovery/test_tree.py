"""Discovery and a tree as kcp has it: workspaces that are mounts, and an index that has not heard of one yet."""

from services.sandbox.wire.faults import Fault
from shared.hub.resources import SYNCTARGETS, WORKSPACES
from tests.support.waiting import until

PLATFORM = "root:platform"
TEAM = "root:team"
MOUNT = {"ref": {"apiVersion": "example.com/v1", "kind": "Cluster", "name": "elsewhere"}}
PATIENT = 60.0  # seconds


async def test_a_mount_is_no_workspace_to_be_followed(scene):
    body = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "mounted"}}
    root = scene.hub.cluster("root")
    made = await root.create(WORKSPACES, {**body, "spec": {"mount": MOUNT}})
    assert "cluster" not in (await root.get(WORKSPACES, "mounted"))["spec"], made
    async with scene.running():
        await until(lambda: with_(scene, TEAM), within=PATIENT)
        assert "root:mounted" not in await scene.paths()
        assert not [each for each in scene.requests if "/clusters/root:mounted/" in each]
    await root.delete(WORKSPACES, "mounted")


async def test_an_index_that_lags_takes_nothing_away_and_holds_up_nothing_else(scene):
    """A front proxy may not know a workspace for minutes, and answers 404 for it: when a worker begins, and later."""
    for workspace, name in ((PLATFORM, "east"), (TEAM, "west")):
        await scene.define(workspace)
        await scene.offer(workspace, name)
    lag = scene.sandbox.faults.add(Fault(kind="lag", cluster=TEAM))
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await until(lambda: with_(scene, TEAM), within=PATIENT)
        scene.sandbox.faults.remove(lag)
        before = await scene.ready(TEAM, "west")
        lag = scene.sandbox.faults.add(Fault(kind="lag", cluster=TEAM))
        scene.sandbox.store.close_watches(TEAM)
        await until(lambda: scene.sandbox.faults.listed()[lag][1] > 20, within=PATIENT)
        found = await scene.entry(TEAM, "west")
        assert found is not None
        assert (found.uid, found.ready) == (before.uid, True)
        assert TEAM in await scene.paths()
        scene.sandbox.faults.remove(lag)
        await scene.hub.cluster(TEAM).delete(SYNCTARGETS, "west")
        await until(lambda: without(scene), within=PATIENT)


async def without(scene):
    return await scene.entry(TEAM, "west") is None


async def with_(scene, path):
    return path in await scene.paths()

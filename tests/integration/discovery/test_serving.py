"""What is installed in a target later is seen within seconds, and costs nothing but watches while nothing changes."""

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS
from tests.support.manifests import definition
from tests.support.waiting import until

PLATFORM = "root:platform"
FOLLOWED = "/customresourcedefinitions"
NEVER = {"probe_interval_seconds": 3600.0, "api_interval_seconds": 3600.0, "capacity_interval_seconds": 3600.0}


async def offered(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")


def asked(scene):
    """How often the target was asked for anything, by path."""
    return {path: count for path, count in scene.requests.items() if "/clusters/target:east/" in path}


async def followed(scene):
    """Until the target is followed, and what was done for that is over."""
    await scene.ready(PLATFORM, "east")
    reads = "GET /clusters/target:east/apis"
    await until(lambda: scene.requests[reads] >= 2)
    await until(lambda: scene.requests[f"GET /clusters/target:east/apis/apiextensions.k8s.io/v1{FOLLOWED}"] >= 2)


async def serves(scene, kind):
    found = await scene.entry(PLATFORM, "east")
    return any(each.kind == kind for each in found.apis)


async def test_a_kind_that_is_installed_or_taken_away_later_is_seen_within_seconds(scene):
    await offered(scene)
    widgets = definition("example.com", "Widget")
    async with Client(load_kubeconfig(scene.kubeconfigs["target-east"])) as east, scene.running(**NEVER):
        await followed(scene)
        await east.create(CRDS, widgets)
        await until(lambda: serves(scene, "Widget"), within=10.0)
        await east.delete(CRDS, widgets["metadata"]["name"])

        async def gone():
            return not await serves(scene, "Widget")

        await until(gone, within=10.0)


async def test_while_nothing_changes_there_are_the_watches_and_no_request_but_probes(scene):
    await offered(scene)
    async with scene.running(**{**NEVER, "probe_interval_seconds": 0.1}):
        await followed(scene)
        before = asked(scene)
        await scene.looks("east", 20)
        more = {path for path, count in asked(scene).items() if count > before[path]}
        assert more == {"GET /clusters/target:east/readyz"}


async def test_a_target_that_changes_all_the_time_is_read_once_in_a_while(scene):
    await offered(scene)
    reads = "GET /clusters/target:east/apis"
    often = {**NEVER, "probe_interval_seconds": 0.1}
    async with Client(load_kubeconfig(scene.kubeconfigs["target-east"])) as east, scene.running(**often):
        await followed(scene)
        before = scene.requests[reads]
        for number in range(20):
            await east.create(CRDS, definition(f"g{number}.example.com", "Widget"))
        await until(lambda: scene.requests[reads] > before)
        await scene.looks("east", 5)
        assert scene.requests[reads] == before + 1


async def test_where_definitions_may_not_be_listed_apis_are_read_by_time(scene):
    await offered(scene)
    scene.faults = {FOLLOWED: 403}
    often = {**NEVER, "probe_interval_seconds": 0.1, "api_interval_seconds": 0.5}
    reads = "GET /clusters/target:east/apis"
    async with scene.running(**often):
        await scene.ready(PLATFORM, "east")
        await until(lambda: scene.requests[reads] >= 4)


async def test_of_more_targets_than_are_followed_the_others_are_read_by_time(scene):
    await offered(scene)
    async with scene.running(**{**NEVER, "probe_interval_seconds": 0.1, "followed_targets": 0}):
        await scene.ready(PLATFORM, "east")
        await scene.looks("east", 3)
        assert not [path for path in asked(scene) if path.endswith(FOLLOWED)]

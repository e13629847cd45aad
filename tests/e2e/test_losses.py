"""The pipeline when something is lost: a cluster, a worker, streams, what a bucket held; and what nobody expects."""

import os

import pytest
import pytest_asyncio

from services.registry import load_all
from shared.broker.nats.connection import connect
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.resources import DEPLOYMENTS
from shared.pipeline.buckets import INVENTORY, WORKSPACES
from shared.process.settings import Settings
from tests.e2e.system import BRISK, System, running_system, until
from tests.support import worlds
from tests.support.manifests import condition

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("e2e")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory):
    async with running_system(tmp_path_factory.mktemp("e2e"), worlds.world(6, cpu="8"), env=BRISK) as found:
        yield found


async def test_the_workloads_of_a_lost_cluster_move_and_the_others_stay(system: System):
    await system.place_app("mobile")
    await system.place_app("settled", count=6)
    (home,) = await until(lambda: system.chosen("mobile"), "a decision on mobile")
    await until(lambda: system.ready("mobile"), "mobile is Ready")
    await until(lambda: system.ready("settled"), "settled is Ready")
    await system.admin.at(system.admin.base.split("/clusters/")[0]).request(
        "POST", f"/sandbox/clusters/{home}/availability", body={"available": False}
    )

    async def moved():
        return [name for name in await system.chosen("mobile") if name != home]

    try:
        await until(moved, "mobile has another target")
        await until(lambda: system.ready("mobile"), "mobile is Ready again")
        history = (await system.decision("mobile"))["history"]
        assert history[0]["why"].startswith("TargetLost")
    finally:
        await system.admin.at(system.admin.base.split("/clusters/")[0]).request(
            "POST", f"/sandbox/clusters/{home}/availability", body={"available": True}
        )

    async def back():
        target = await system.admin.cluster(worlds.PLATFORM).get(SYNCTARGETS, home)
        return condition(target.get("status") or {}, "Ready").get("status") == "True"

    await until(back, "the cluster is back")
    await until(lambda: system.is_only_in("mobile", (home_of(history))), "what was left behind is removed")


def home_of(history):
    return history[0]["to"][0]["name"]


async def test_workers_end_with_code_0_within_their_bound_on_sigterm(system: System):
    child = system.running.children["scheduler"]
    before = child.pid
    os.kill(before, 15)

    async def again():
        return child.pid != before and child.restarts

    await until(again, "the scheduler was started again")
    await system.place_app("after-restart")
    await until(lambda: system.ready("after-restart"), "after-restart is Ready")


async def test_garbage_on_every_subject_is_parked_with_its_cause_and_harms_nobody(system: System):
    stages = [kind.stage for worker in load_all() for kind in worker.consumes]
    bus, _ = await connect("e2e", Settings(nats_url=system.place.nats))
    try:
        for stage in stages:
            await bus.publish(f"moorage.pipeline.{stage}.root=3Ateam.apps.junk", b'{"type": 7', id=f"junk-{stage}")

        async def parked():
            letters = [letter async for letter in bus.dead_letters()]
            found = {letter.consumer.partition("-")[2] for letter in letters if "not a valid" in letter.cause}
            return found >= set(stages)

        await until(parked, "every stage parked its garbage")
    finally:
        await bus.close()
    await system.place_app("after-garbage")
    await until(lambda: system.ready("after-garbage"), "after-garbage is Ready")


async def test_deleting_every_stream_and_bucket_rebuilds_the_same_world(system: System):
    await system.place_app("durable", count=2)
    await until(lambda: system.ready("durable"), "durable is Ready")
    before = {name: await system.uid(name, "durable") for name in await system.chosen("durable")}
    reserved = await system.reservations()
    await system.delete_all_streams()
    for name, child in system.running.children.items():
        if name != "sandbox":
            os.kill(child.pid, 9)
    await system.place_app("newcomer")
    await until(lambda: system.ready("newcomer"), "newcomer is Ready")
    await until(lambda: system.ready("durable"), "durable is Ready again")
    assert {name: await system.uid(name, "durable") for name in await system.chosen("durable")} == before

    differences: dict[str, object] = {}

    async def rebuilt():
        now = {key: value for key, value in (await system.reservations()).items() if not key.endswith(".newcomer")}
        differences.clear()
        differences.update({key: (reserved.get(key), now.get(key)) for key in reserved.keys() ^ now.keys()})
        return now == reserved

    try:
        await until(rebuilt, "the reservations are as before")
    finally:
        print("reserved before and after:", differences)


async def test_a_bucket_that_lost_entries_takes_nothing_away_that_runs(system: System):
    """The projections may be incomplete; only the API server's word removes or moves what runs."""
    await system.place_app("kept")
    (home,) = await until(lambda: system.chosen("kept"), "a decision on kept")
    await until(lambda: system.ready("kept"), "kept is Ready")
    before = await system.uid(home, "kept")
    bus, store = await connect("e2e", Settings(nats_url=system.place.nats))
    try:
        await Table(store, INVENTORY).delete(join(worlds.PLATFORM, home))
        await Table(store, WORKSPACES).delete(join(worlds.TEAM))

        async def restored():
            workspace = await Table(store, WORKSPACES).get(join(worlds.TEAM))
            return workspace and await Table(store, INVENTORY).get(join(worlds.PLATFORM, home))

        await until(restored, "discovery wrote both entries again", within=90)
    finally:
        await bus.close()
    await system.place_app("after-loss")
    await until(lambda: system.ready("after-loss"), "after-loss is Ready")
    assert await system.chosen("kept") == [home]
    assert await system.uid(home, "kept") == before


async def test_a_name_of_any_length_that_kubernetes_takes_is_placed_and_removed(system: System):
    name = "long-" + "x" * 58  # what a Deployment may have; the Placement's own name is longer
    await system.user.create(DEPLOYMENTS, worlds.deployment(name[:60]))
    longest = "p-" + "y" * 248
    spec = worlds.placement(name[:60])
    spec["metadata"]["name"] = longest
    await system.user.create(PLACEMENTS, spec)
    await until(lambda: system.ready(longest), "it is Ready")
    await system.user.delete(PLACEMENTS, longest, worlds.NAMESPACE)

    async def vanished():
        return not await system.placed(name[:60])

    await until(vanished, "its Deployment is removed")

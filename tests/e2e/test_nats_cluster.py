"""The whole system on three NATS servers with three copies of everything: one of them may be lost at any time."""

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.cli.diagnosing import monitoring
from tests.e2e.arriving import arriving
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.natscluster import NAMES, NatsCluster, nats_cluster
from tests.support.smalldisk import fill, small_disk

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

TARGETS, ROOM = 6, 1.2  # clusters; cores of each, for placements of 0.1: 72 in all
MANY = 60
ENV = {"MOORAGE_RESYNC_SECONDS": "8", "MOORAGE_STREAM_REPLICAS": str(len(NAMES))}


@asynccontextmanager
async def on_a_cluster(folder: Path) -> AsyncIterator[tuple[NatsCluster, System]]:
    async with nats_cluster(folder / "nats", monitoring=True) as cluster:
        world = worlds.world(TARGETS, cpu=str(ROOM))
        async with running_system(folder, world, nats=cluster.url, env=ENV) as system:
            await cluster.whole()
            yield cluster, system


async def test_servers_killed_restarted_and_wiped_one_after_the_other_under_way_lose_and_double_nothing(tmp_path):
    async with on_a_cluster(tmp_path) as (cluster, system), arriving(system, MANY, ROOM) as placements:
        for name, server in cluster.servers.items():
            await placements.progress()
            server.kill()
            await server.ready()
            await cluster.whole()
            await cluster.restart(name)
            await cluster.whole()
        await placements.progress()
        await cluster.wipe("b")
        await cluster.whole()
        await cluster.servers["a"].stop()  # what the others have has to do now, and one of them began with nothing


root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted, which takes root")


@root_alone
async def test_a_server_whose_disk_is_full_stops_nobody(tmp_path):
    folder = tmp_path / "nats" / "c"
    with small_disk(folder):
        async with on_a_cluster(tmp_path) as (cluster, system), arriving(system, MANY, ROOM) as placements:
            await placements.progress()
            fill(folder / "ballast")
            await placements.placed()
            (folder / "ballast").unlink()
            await cluster.restart("c")
            await cluster.whole()


@root_alone
async def test_disks_that_are_all_full_stop_work_until_there_is_room_and_lose_and_double_nothing(tmp_path):
    folders = [tmp_path / "nats" / name for name in NAMES]
    with ExitStack() as disks:
        for folder in folders:
            disks.enter_context(small_disk(folder))
        async with on_a_cluster(tmp_path) as (cluster, system), arriving(system, MANY, ROOM) as placements:
            await placements.progress()
            for folder in folders:
                fill(folder / "ballast")

            async def stopped() -> bool:
                faults = (await monitoring.examine(cluster.monitoring)).faults
                return sum(each.fault == "JetStreamStopped" for each in faults) >= len(NAMES) - 1

            await until(stopped, "most servers stop their JetStream")
            for folder in folders:
                (folder / "ballast").unlink()
            for name in NAMES:
                await cluster.restart(name)
            await cluster.whole()

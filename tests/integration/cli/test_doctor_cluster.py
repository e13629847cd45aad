"""`moorage doctor` on several NATS servers: copies that are away or behind, too few of them, full stores."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from services.cli.diagnosing import monitoring, queues
from services.cli.diagnosing.faults import FoundFault
from shared.broker.bus import BusError
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS
from shared.process.settings import ProvisionSettings
from tests.support.natscluster import NAMES, NatsCluster, nats_cluster
from tests.support.ports import free_port
from tests.support.smalldisk import fill, small_disk
from tests.support.waiting import until

BUSY = 90.0  # seconds that a cluster may take to notice something on a busy machine

Told = dict[str, list[str]]


class Ward:
    """A provisioned JetStream, looked at over one connection."""

    def __init__(self, client: NatsClient) -> None:
        self.client = client
        self.bus, self.store = NatsBus(client), NatsStore(client, replicas=len(NAMES))
        self._published = 0

    async def provision(self) -> None:
        await self.bus.provision(topology.streams(ProvisionSettings(stream_replicas=len(NAMES))), ())
        await self.store.provision(BUCKETS)

    async def publish(self, many: int) -> None:
        for _ in range(many):
            self._published += 1
            subject = f"moorage.pipeline.requested.root.n.p{self._published}"
            await self.bus.publish(subject, b"x" * 1000, id=subject)

    async def follower(self, servers: NatsCluster) -> str:
        """A server that neither leads the pipeline nor has our connection."""
        leader = (await self.client.api("STREAM.INFO.MOORAGE_PIPELINE"))["cluster"]["leader"]
        connected = self.client._nc.connected_url
        return next(
            name for name, each in servers.servers.items() if name != leader and f":{connected.port}" not in each.url
        )

    async def faults(self) -> dict[str, list[FoundFault]]:
        found: dict[str, list[FoundFault]] = {}
        for each in (await queues.examine(self.bus, self.store, (), lag=60.0)).faults:
            found.setdefault(each.fault, []).append(each)
        return found

    async def told(self) -> Told | None:
        """Of each fault, where; None where JetStream does not answer, as while a leader is chosen."""
        try:
            return {name: [each.where for each in some] for name, some in (await self.faults()).items()}
        except BusError:
            return None

    async def tells(self, *expected: Told) -> None:
        """Wait until it tells these faults of these places (or those others), and no more."""
        await until(self.told, f"the doctor tells {expected}", holds=lambda found: found in expected, within=BUSY)

    async def says(self, fault: str, words: str) -> None:
        """Wait until it tells a fault in one place, with these words among what it says."""

        async def said() -> list[str]:
            try:
                return [each.message for each in (await self.faults()).get(fault, ())]
            except BusError:
                return []

        await until(said, words, holds=lambda found: len(found) == 1 and words in found[0], within=BUSY)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with nats_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
async def ward(servers: NatsCluster) -> AsyncIterator[Ward]:
    async with servers.client() as client:
        found = Ward(client)
        await found.provision()
        await servers.whole()
        yield found


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("nats-cluster")
async def test_servers_that_are_away_or_behind_and_streams_without_most_of_their_copies_are_told(
    ward: Ward, servers: NatsCluster
) -> None:
    await ward.tells({})
    name = await ward.follower(servers)
    paused = servers.servers[name].pid
    assert paused is not None
    os.kill(paused, signal.SIGSTOP)
    try:
        await ward.publish(20)
        await ward.tells({"ReplicaBehind": [f"server {name}"]})
    finally:
        os.kill(paused, signal.SIGCONT)
    await ward.tells({})
    await servers.servers["c"].stop()
    await ward.tells({"ServerLost": ["server c"]})
    await ward.says("ServerLost", "KV_moorage-asked, KV_moorage-binding-copies, KV_moorage-charges and ")
    await servers.servers["b"].stop()
    whole = {"QuorumLost": ["JetStream"], "ServerLost": ["server b", "server c"]}
    leaderless = {"QuorumLost": ["JetStream"]}  # where the server that led all of JetStream was among them
    await ward.tells(whole, leaderless)
    for name in ("b", "c"):
        await servers.servers[name].start()
    await ward.tells({})


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("nats-cluster")
async def test_a_stream_whose_only_copy_was_on_a_lost_server_is_told(ward: Ward, servers: NatsCluster) -> None:
    alone = {"name": "KV_moorage-alone", "subjects": ["alone.>"], "num_replicas": 1}
    where = (await ward.client.api("STREAM.CREATE.KV_moorage-alone", alone))["cluster"]["leader"]
    await servers.servers[where].stop()
    await ward.tells({"QuorumLost": ["JetStream"], "ServerLost": [f"server {where}"]})
    await ward.says("QuorumLost", "KV_moorage-alone:")


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("nats-cluster")
@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system of its own is mounted, which takes root")
async def test_a_server_whose_disk_is_full_is_told_until_it_was_restarted_with_room(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with small_disk(folder):
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(nats_cluster(tmp_path, monitoring=True))
            ward = Ward(await stack.enter_async_context(cluster.client()))
            await ward.provision()
            await cluster.whole()
            await monitored(cluster, [])
            fill(folder / "ballast")
            await ward.publish(20)
            await ward.tells({"ReplicaBehind": ["server c"]})
            await monitored(cluster, [("JetStreamStopped", f"server at {cluster.monitoring[2]}")])
            (folder / "ballast").unlink()
            await cluster.restart("c")
            await ward.tells({})
            await monitored(cluster, [])


async def monitored(cluster: NatsCluster, expected: list[tuple[str, str]]) -> None:
    """Wait until the servers tell these faults of themselves, and where, and no others."""

    async def told() -> list[tuple[str, str]]:
        return [(each.fault, each.where) for each in (await monitoring.examine(cluster.monitoring)).faults]

    await until(told, f"servers tell {expected}", holds=lambda found: found == expected, within=BUSY)


async def test_a_store_an_account_or_a_bucket_that_is_nearly_full_is_told(tmp_path: Path) -> None:
    most, port = 8 << 20, free_port()
    config: dict[str, Any] = {
        "http": f"127.0.0.1:{port}",
        "jetstream": {"store_dir": str(tmp_path / "store"), "max_file_store": most},
        "accounts": {"one": {"jetstream": {"max_file": most}, "users": [{"user": "one", "password": "one"}]}},
    }
    url = f"http://127.0.0.1:{port}"
    async with NatsServer(tmp_path / "nats", config=config) as server:
        client = await NatsClient.connect(server.url.replace("//", "//one:one@"), name="test")
        ward = Ward(client)
        bucket = {"name": "KV_moorage-full", "subjects": ["full.>"], "discard": "new", "max_bytes": most // 2}
        other = {"name": "OTHER", "subjects": ["other.>"]}
        for each in (bucket, other):
            await client.api(f"STREAM.CREATE.{each['name']}", each)
        assert await storage(ward) == []
        assert (await monitoring.examine([url])).faults == ()
        for number in range(7):
            await client.request(f"full.{number}", b"x" * (512 << 10))
        assert await storage(ward) == ["stream KV_moorage-full"]
        for number in range(8):
            await client.request(f"other.{number}", b"x" * (500 << 10))
        assert await storage(ward) == ["account of NATS", "stream KV_moorage-full"]
        (full,) = (await monitoring.examine([url])).faults
        assert (full.fault, full.where) == ("StorageNearlyFull", f"server at {url}")
        assert full.message.endswith(" of 8 MiB are used")
        await client.close()


async def storage(ward: Ward) -> list[str]:
    """What is told to be nearly full."""
    return [each.where for each in (await ward.faults()).get("StorageNearlyFull", [])]


async def test_a_monitoring_port_that_is_away_or_somebody_elses_is_told(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        for url in (f"http://127.0.0.1:{free_port()}", server.url.replace("nats://", "http://")):
            (fault,) = (await monitoring.examine([url])).faults
            assert (fault.fault, fault.where) == ("MonitoringUnreachable", f"server at {url}")

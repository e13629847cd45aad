"""Three NATS servers with three copies of everything, as docs/deploy.md recommends: one of them may go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.broker.bus import Consumer, Delivery
from shared.broker.claims import CLAIM_ABOVE, payload_of, send
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.store import NatsStore
from shared.broker.store import Bucket
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS
from shared.process.settings import ProvisionSettings
from tests.support.natscluster import NAMES, NatsCluster, nats_cluster, streams

pytestmark = pytest.mark.timeout(400)

LARGE = b"x" * (CLAIM_ABOVE + 1)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with nats_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
async def bus(cluster: NatsCluster) -> AsyncIterator[NatsBus]:
    """A connection to whichever server is there, with all that the workers need in three copies."""
    client = await NatsClient.connect(cluster.url, name="test")
    bus = NatsBus(client)
    await bus.provision(topology.streams(ProvisionSettings(stream_replicas=len(NAMES))), (CONSUMER,))
    await NatsStore(client, replicas=len(NAMES)).provision(BUCKETS)
    yield bus
    await bus.close()


CONSUMER = Consumer(name="test", stream=topology.PIPELINE_STREAM, subject="moorage.pipeline.test.>")


async def test_everything_that_is_provisioned_has_as_many_copies_as_asked_for(bus: NatsBus) -> None:
    copies = {stream["config"]["name"]: stream["config"]["num_replicas"] for stream in await streams(bus.client)}
    assert len(copies) == len(BUCKETS) + len(topology.streams()) + 2  # advisories and large payloads
    assert set(copies.values()) == {len(NAMES)}, copies


async def test_workers_that_start_at_once_all_provision(cluster: NatsCluster) -> None:
    wanted = topology.streams(ProvisionSettings(stream_replicas=len(NAMES)))

    async def start() -> None:
        async with cluster.client() as client:
            await NatsBus(client).provision(wanted, (CONSUMER,))
            await NatsStore(client, replicas=len(NAMES)).provision(BUCKETS)

    await asyncio.gather(*(start() for _ in range(8)))


async def test_messages_and_large_payloads_outlive_the_loss_of_the_server_that_leads(
    bus: NatsBus, cluster: NatsCluster
) -> None:
    await send(bus, "moorage.pipeline.test.before", LARGE, id="before")
    (pipeline,) = (each for each in await streams(bus.client) if each["config"]["name"] == CONSUMER.stream)
    await cluster.servers[pipeline["cluster"]["leader"]].stop()
    received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def receive(delivery: Delivery) -> None:
        received.put_nowait((delivery.subject, await payload_of(bus, delivery)))
        await delivery.ack()

    async with asyncio.timeout(60):
        await send(bus, "moorage.pipeline.test.after", LARGE, id="after")
        consumption = await bus.consume(CONSUMER, receive)
        found = dict([await received.get(), await received.get()])
    await consumption.drain(5)
    assert found == {"moorage.pipeline.test.before": LARGE, "moorage.pipeline.test.after": LARGE}


async def test_what_is_read_from_a_bucket_is_whole_also_while_a_server_with_an_empty_disk_catches_up(
    bus: NatsBus, cluster: NatsCluster
) -> None:
    store = NatsStore(bus.client, replicas=len(NAMES))
    bucket = Bucket(name="large", description="", holds=bytes, owner="test")
    await store.provision((bucket,))
    raw, keys = store.raw(bucket), {f"k{number}" for number in range(200)}
    await asyncio.gather(*(raw.put(key, b"x" * 50_000) for key in sorted(keys)))
    await cluster.whole()
    wiping = asyncio.create_task(cluster.wipe("b"))
    whole = asyncio.create_task(_after(wiping, cluster))

    async def read_on() -> int:
        times = 0
        while not whole.done():
            async with asyncio.timeout(180), contextlib.aclosing(raw.watch()) as news:
                found = set()
                async for each in news:
                    if each is None:
                        break
                    found.add(each.key)
            assert found == keys
            times += 1
        return times

    times = await asyncio.gather(*(read_on() for _ in range(4)))
    await whole
    assert all(times)


async def _after(wiping: "asyncio.Task[None]", cluster: NatsCluster) -> None:
    await wiping
    await cluster.whole()

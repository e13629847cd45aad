"""Three NATS servers with three copies of everything, as docs/deploy.md recommends: one of them may go."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from shared.broker.bus import Consumer, Delivery
from shared.broker.claims import CLAIM_ABOVE, payload_of, send
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS

NAMES = ("a", "b", "c")
LARGE = b"x" * (CLAIM_ABOVE + 1)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[dict[str, NatsServer]]:
    """The servers by name."""
    ports = free_ports(len(NAMES))
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        servers = {
            name: NatsServer(
                tmp_path / name,
                config={
                    "server_name": name,
                    "cluster": {"name": "test", "host": "127.0.0.1", "port": port, "routes": routes},
                },
            )
            for name, port in zip(NAMES, ports, strict=True)
        }
        for server in servers.values():
            await stack.enter_async_context(server)
        yield servers


@pytest.fixture
async def bus(cluster: dict[str, NatsServer]) -> AsyncIterator[NatsBus]:
    """A connection to whichever server is there, with all that the workers need in three copies."""
    client = await NatsClient.connect(",".join(server.url for server in cluster.values()), name="test")
    await elected(client)
    bus = NatsBus(client)
    await bus.provision(topology.streams(len(NAMES)), (CONSUMER,))
    await NatsStore(client, replicas=len(NAMES)).provision(BUCKETS)
    yield bus
    await bus.close()


CONSUMER = Consumer(name="test", stream=topology.PIPELINE_STREAM, subject="moorage.pipeline.test.>")


async def elected(client: NatsClient) -> None:
    """Wait for JetStream's leader, without which nothing can be provisioned; `request` repeats what nobody answers."""
    await client.request("$JS.API.STREAM.NAMES", deadline=60.0)


async def streams(client: NatsClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.api("STREAM.LIST"))["streams"]
    return found


async def test_everything_that_is_provisioned_has_as_many_copies_as_asked_for(bus: NatsBus) -> None:
    copies = {stream["config"]["name"]: stream["config"]["num_replicas"] for stream in await streams(bus.client)}
    assert len(copies) == len(BUCKETS) + 4  # the pipeline, dead letters, advisories and large payloads
    assert set(copies.values()) == {len(NAMES)}, copies


async def test_messages_and_large_payloads_outlive_the_loss_of_the_server_that_leads(
    bus: NatsBus, cluster: dict[str, NatsServer]
) -> None:
    await send(bus, "moorage.pipeline.test.before", LARGE, id="before")
    (pipeline,) = (each for each in await streams(bus.client) if each["config"]["name"] == CONSUMER.stream)
    await cluster[pipeline["cluster"]["leader"]].stop()
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

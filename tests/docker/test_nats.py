"""What the bus and the state promise, on the NATS of compose.yaml with deploy/nats/nats.conf."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from shared.broker.bus import Bus, Consumer, Delivery, Reject, Retry, Stream
from shared.broker.claims import payload_of, send
from shared.broker.dead import DEAD_STREAM
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.store import NatsStore
from shared.broker.store import Bucket, Conflict
from shared.broker.table import Table
from tests.support.compose import ROOT, SERVICES

pytestmark = pytest.mark.docker

STREAM = Stream(
    name="DOCKER", subjects=("moorage.docker.>",), description="test", max_bytes=1 << 26, last_per_subject=True
)
DEAD = Stream(name=DEAD_STREAM, subjects=("moorage.dead.>",), description="dead letters", max_bytes=1 << 26)
WORKER = Consumer(name="docker-worker", stream="DOCKER", subject="moorage.docker.>")
BOUND = 30.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a container; where clients connect."""
    service = SERVICES["nats"]
    container = (
        DockerContainer(service["image"])
        .with_command(["--config", "/etc/nats/nats.conf"])  # without the keys that compose.yaml makes
        .with_volume_mapping(str(ROOT / "deploy/nats/nats.conf"), "/etc/nats/nats.conf", "ro")
        .with_exposed_ports(4222, 8222)
        .waiting_for(HttpWaitStrategy(8222, "/healthz").with_startup_timeout(60))
    )
    with container:
        yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(4222)}"


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    bus = await NatsBus.connect(url, name="docker")
    await bus.provision((STREAM, DEAD), (WORKER,))
    yield bus
    await bus.close()


async def handled(bus: Bus, handle: Callable[[Delivery], Any], done: asyncio.Event) -> None:
    """Consume until the test is done."""
    consumption = await bus.consume(WORKER, handle)
    async with asyncio.timeout(BOUND):
        await done.wait()
    assert await consumption.drain(BOUND)


async def test_messages_arrive_once_in_order_with_their_headers(bus: Bus) -> None:
    for number in range(20):
        subject = f"moorage.docker.order.{number}"
        assert await bus.publish(subject, str(number).encode(), id=subject, headers={"traceparent": "t"})
        assert not await bus.publish(subject, b"again", id=subject), "a known id is a duplicate"
    seen: list[Delivery] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery)
        if len(seen) == 20:
            done.set()

    await handled(bus, handle, done)
    assert sorted(int(delivery.payload) for delivery in seen) == list(range(20))
    assert {delivery.headers["traceparent"] for delivery in seen} == {"t"}


async def test_retry_delivers_again_and_reject_parks_with_the_reason(bus: Bus) -> None:
    attempts: list[int] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt < 3:
            raise Retry(0.05)
        done.set()
        raise Reject("no such thing")

    await bus.publish("moorage.docker.retry", b"x", id="retry")
    await handled(bus, handle, done)
    assert attempts == [1, 2, 3]
    (letter,) = [letter async for letter in bus.dead_letters("docker.retry")]
    assert (letter.payload, letter.cause) == (b"x", "no such thing")


async def test_a_large_payload_travels_by_claim_check(bus: Bus) -> None:
    large = bytes(3_000_000)
    got: list[bytes] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        got.append(await payload_of(bus, delivery))
        done.set()

    await send(bus, "moorage.docker.large", large, id="large")
    await handled(bus, handle, done)
    assert got == [large]


async def test_a_bucket_compares_and_sets_and_is_followed(url: str) -> None:
    bucket = Bucket(name="docker", holds=dict[str, int], owner="test", description="test", max_bytes=1 << 26)
    client = await NatsClient.connect(url, name="docker")
    store = NatsStore(client)
    await store.provision((bucket,))
    table = Table(store, bucket)
    first = await table.update("a.b", {"n": 1}, 0)
    with pytest.raises(Conflict):
        await table.update("a.b", {"n": 2}, 0)
    await table.update("a.b", {"n": 2}, first)
    view = table.follow()
    running = asyncio.create_task(view.run())
    async with asyncio.timeout(BOUND):
        await view.synced.wait()
    assert view.get("a.b") == {"n": 2}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await client.close()

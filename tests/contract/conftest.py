"""The brokers that the contract suites run on: the one in memory, and a real nats-server."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.broker.bus import Bus, Consumer, DeadLetter, Stream
from shared.broker.dead import DEAD_STREAM
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.pull import PullSettings
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.store import Bucket, Store
from tests.support.waiting import until

QUICK = PullSettings(expires=2.0, heartbeat=0.2)
numbers = itertools.count(1)


async def elapse(seconds: float) -> None:
    """Let time pass in which something must not happen; there is no condition to wait for then."""
    await asyncio.sleep(seconds)


@dataclass
class Lab:
    """A broker, a stream of this test's own on it, and connections to it."""

    dial: Callable[[], Awaitable[Any]]
    token: str = field(default_factory=lambda: f"t{next(numbers)}")
    connections: list[Any] = field(default_factory=list)

    @property
    def stream(self) -> str:
        return self.token.upper()

    def subject(self, *tokens: str) -> str:
        return ".".join(("moorage", self.token, *tokens))

    def consumer(self, name: str = "worker", **settings: Any) -> Consumer:
        return Consumer(
            **{"name": f"{self.token}-{name}", "stream": self.stream, "subject": self.subject(">"), **settings}
        )

    async def bus(self, *consumers: Consumer, **stream: Any) -> Bus:
        """A connection, with the stream, the dead letters and these consumers provisioned."""
        bus: Bus = await self.dial()
        self.connections.append(bus)
        settings = {"name": self.stream, "subjects": (self.subject(">"),), "description": "test", "max_bytes": 1 << 26}
        dead = Stream(name=DEAD_STREAM, subjects=("moorage.dead.>",), description="dead", max_bytes=1 << 26)
        await bus.provision((Stream(**{**settings, **stream}), dead), consumers)
        return bus

    async def dead(self, bus: Bus) -> list[DeadLetter]:
        return [letter async for letter in bus.dead_letters(f"{self.token}.>")]

    async def parked(self, bus: Bus, number: int = 1) -> list[DeadLetter]:
        """The dead letters, once there are this many."""
        letters: list[DeadLetter] = await until(lambda: self.dead(bus), holds=lambda found: len(found) >= number)
        return letters

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """One server for all tests that leave it alone."""
    async with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server that this test may kill."""
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def memory_lab() -> AsyncIterator[Lab]:
    broker = MemoryBroker()

    async def dial() -> Bus:
        return MemoryBus(broker)

    lab = Lab(dial)
    yield lab
    await lab.close()


@pytest.fixture
async def nats_lab(nats_server: NatsServer) -> AsyncIterator[Lab]:
    lab = Lab(nats_dial(nats_server))
    yield lab
    await lab.close()


@pytest.fixture
async def own_lab(own_server: NatsServer) -> AsyncIterator[Lab]:
    lab = Lab(nats_dial(own_server))
    yield lab
    await lab.close()


@pytest.fixture(params=["memory", "nats"])
def lab(request: pytest.FixtureRequest) -> Lab:
    lab: Lab = request.getfixturevalue(f"{request.param}_lab")
    return lab


def nats_dial(server: NatsServer) -> Callable[[], Awaitable[Bus]]:
    async def dial() -> Bus:
        return NatsBus(await NatsClient.connect(server.url, name="contract"), pull=QUICK)

    return dial


@pytest.fixture
def memory_store() -> Store:
    return MemoryStore()


@pytest.fixture
async def nats_store(nats_server: NatsServer) -> AsyncIterator[Store]:
    client = await NatsClient.connect(nats_server.url, name="contract")
    yield NatsStore(client, pull=QUICK)
    await client.close()


@pytest.fixture(params=["memory", "nats"])
def store(request: pytest.FixtureRequest) -> Store:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    return store


def new_bucket() -> Bucket[Any]:
    return Bucket(
        name=f"bucket-{next(numbers)}", holds=dict[str, int], owner="test", description="test", max_bytes=1 << 26
    )


@pytest.fixture
async def bucket(store: Store) -> Bucket[Any]:
    """A fresh bucket, provisioned."""
    bucket = new_bucket()
    await store.provision((bucket,))
    return bucket

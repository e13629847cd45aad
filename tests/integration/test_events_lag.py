"""A consumer of events that lags, stops reading or dies slows nobody: neither who tells them, nor who reads as well."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.broker.nats import reader
from shared.broker.nats.client import NatsClient
from shared.broker.nats.permissions import API_PREFIX
from shared.model.events import DegradedData
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent
from shared.pipeline.tenants import Tenant
from tests.support.secured import secured

ONE = Tenant(name="one", workspace="root:one", users=("alice",))
TWO = Tenant(name="two", workspace="root:two", users=("bob",))
MANY, SIZE = 3000, 8000
"""Events, and bytes in each: 24 MB, which no buffer of a socket holds."""

pytestmark = pytest.mark.timeout(180)


def told(workspace: str, number: int) -> PlacementEvent:
    ref = PlacementRef(workspace=workspace, namespace="n", name="p")
    data = DegradedData(
        placement=ref, uid=workspace, generation=1, attempt=1, targets=1, degraded=1, message="x" * SIZE
    )
    return PlacementEvent(data=data, occasion=str(number))


class Town:
    """A worker that tells events, and two tenants that may read theirs."""

    def __init__(self, status: NatsClient, one: NatsClient, two: NatsClient) -> None:
        self.status = status
        self.one = one
        self.two = two

    async def tell(self, workspace: str, first: int, many: int) -> float:
        """So many events, sixteen at a time; how many seconds it takes."""
        numbers = iter(range(first, first + many))

        async def some() -> None:
            for number in numbers:
                event = told(workspace, number)
                await self.status.request(event.subject, event.encoded({}), {"Nats-Msg-Id": event.id})

        begin = time.monotonic()
        await asyncio.gather(*(some() for _ in range(16)))
        return time.monotonic() - begin

    async def read(self, client: NatsClient, subject: str, many: int) -> int:
        """How many events somebody reads in order, of so many."""
        found = 0
        async for message in reader.follow(client, EVENTS_STREAM, subject, {"deliver_policy": "all"}):
            if message is not None:
                json.loads(message.data)
                found += 1
            if found == many:
                return found
        raise AssertionError


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(secured(tmp_path, ONE, TWO))
        clients = [await stack.enter_async_context(nats.client(name)) for name in ("status", "one", "two")]
        yield Town(*clients)


async def asks_and_stops_reading(client: NatsClient) -> None:
    """A tenant asks for all that there is and will be, and reads nothing of it."""
    subject = "moorage.events.root=3Aone.>"
    config = {"name": "lags", "filter_subject": subject, "ack_policy": "none", "deliver_policy": "all"}
    request = {"stream_name": EVENTS_STREAM, "config": config}
    await client.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.lags.{subject}", request)
    client._nc._reading_task.cancel()  # as a program that hangs: nothing is taken from the socket any more
    body = json.dumps({"batch": 100_000, "expires": int(120e9)}).encode()
    await client.send(f"{API_PREFIX}.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.lags", body, reply="_INBOX.never.read")


async def test_a_consumer_that_stops_reading_delays_neither_who_tells_nor_who_reads(town: Town) -> None:
    usual = await town.tell("root:two", 0, MANY)
    await asks_and_stops_reading(town.one)
    reading = asyncio.create_task(town.read(town.two, "moorage.events.root=3Atwo.>", 2 * MANY))
    lagging = await town.tell("root:one", 0, MANY)
    await town.tell("root:two", MANY, MANY)
    assert await asyncio.wait_for(reading, 60) == 2 * MANY
    print(f"{MANY} events: {usual:.2f} s, with one that reads nothing {lagging:.2f} s")
    assert lagging < 3 * usual + 2  # it reads 24 MB beside it, on the same machine
    info = await town.status.api(f"STREAM.INFO.{EVENTS_STREAM}")
    assert info["state"]["messages"] == 3 * MANY


async def test_who_dies_reads_on_where_it_was_and_has_missed_nothing(town: Town) -> None:
    subject = "moorage.events.root=3Aone.>"
    await town.tell("root:one", 0, 200)
    last = 0
    async for message in reader.follow(town.one, EVENTS_STREAM, subject, {"deliver_policy": "all"}):
        assert message is not None
        last = message.metadata.sequence.stream
        if last >= 100:
            break
    await town.tell("root:one", 200, 200)
    seen = []
    async for message in reader.follow(town.one, EVENTS_STREAM, subject, reader.after(last)):
        if message is None:
            break
        seen.append(message.metadata.sequence.stream)
    assert seen == list(range(101, 401))

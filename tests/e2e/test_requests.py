"""Requests on the bus while intake is killed, and NATS: each is answered once in effect, and none is lost."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from shared.broker.bus import Bus, BusError
from shared.broker.nats.connection import connect
from shared.broker.nats.streams import stream_info
from shared.cloudevents import CloudEvent, parse, structured
from shared.hub.resources import PLACEMENTS
from shared.pipeline.events import EVENTS_STREAM
from shared.pipeline.requests import STREAM, RequestSubject
from shared.process.settings import Settings
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.asking import data_of, request

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(500)]

NAMES = [f"app-{number:03}" for number in range(200)]
VERSIONS = 9
AGAIN = 22
"""Requests of each version that are published twice: 198 in all."""
ALICE = RequestSubject(worlds.TEAM, worlds.USER, "place").subject
KILLS = 12


@asynccontextmanager
async def asking(system: System) -> AsyncIterator[Bus]:
    bus, _ = await connect("publisher", Settings(nats_url=system.place.nats))
    try:
        yield bus
    finally:
        await bus.close()


def versions(chance: random.Random) -> Iterable[CloudEvent]:
    """A request per version and placement, version after version; some come once more before the next version does."""
    for version in range(1, VERSIONS + 1):
        wanted = [
            request("place", worlds.placement(name, priority=version), id=f"{name}-{version}", inbox="")
            for name in NAMES
        ]
        yield from (*wanted, *chance.sample(wanted, AGAIN))


async def publish(bus: Bus, event: CloudEvent, number: int) -> None:
    """Publish until it is stored: a broker may be away, or have too many that wait already."""
    while True:
        try:
            await bus.publish(ALICE, structured(event), id=f"message-{number}")
        except BusError:
            await asyncio.sleep(0.1)
            continue
        return


async def answers(system: System) -> list[CloudEvent]:
    """The answers on record."""
    client = await nats.connect(system.place.nats)
    try:
        js = client.jetstream()
        expected = (await js.stream_info(EVENTS_STREAM)).state.messages
        unanswered = ConsumerConfig(ack_policy=AckPolicy.NONE)
        subscription = await js.pull_subscribe("moorage.events.>", stream=EVENTS_STREAM, config=unanswered)
        found: list[CloudEvent] = []
        while len(found) < expected:
            found += [parse(each.data, each.headers or {}) for each in await subscription.fetch(500, timeout=10)]
        return found
    finally:
        await client.close()


async def waiting(bus: Bus) -> int:
    """How many requests are not answered."""
    info = await stream_info(bus.client, STREAM.name)  # type: ignore[attr-defined]  # it is on NATS
    assert info is not None
    return int(info["state"]["messages"])


async def test_2000_requests_are_each_answered_once_in_effect_while_copies_are_killed(tmp_path: Path) -> None:
    world, chance = worlds.world(1), random.Random(12)
    published = list(versions(chance))
    async with (
        running_system(tmp_path, world, workers=["intake"], copies={"intake": 3}) as system,
        asking(system) as bus,
    ):

        async def publish_all() -> None:
            for number, event in enumerate(published):
                await publish(bus, event, number)

        publishing = asyncio.create_task(publish_all())
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            victim = system.running.children[f"intake-{chance.randint(1, 3)}"]
            assert victim.pid
            with contextlib.suppress(ProcessLookupError):  # it is dead already, and not started again yet
                os.kill(victim.pid, signal.SIGKILL)
        await publishing
        await until(lambda: waiting(bus), holds=lambda left: left == 0, within=200.0)
        found = await answers(system)
        assert Counter(data_of(each)["request"]["id"] for each in found) == Counter({each.id for each in published})
        rejected = [data_of(each) for each in found if each.type.endswith(".rejected.v1")]
        assert {each["code"] for each in rejected} <= {"Superseded"}
        for name in NAMES:
            assert (await system.placement(name))["spec"]["priority"] == VERSIONS
        uids = {data_of(each)["placement"]["name"]: data_of(each)["uid"] for each in found if "uid" in data_of(each)}
        assert uids == {each["metadata"]["name"]: each["metadata"]["uid"] for each in await placements(system)}
        assert sum(child.restarts for child in system.running.children.values()) >= KILLS // 2


async def placements(system: System) -> list[dict[str, dict[str, str]]]:
    return (await system.user.list(PLACEMENTS, worlds.NAMESPACE)).items


async def test_requests_that_nats_stored_before_it_was_killed_are_answered(tmp_path: Path) -> None:
    async with running_system(tmp_path, worlds.world(1), workers=["intake"]) as system, asking(system) as bus:
        for number, name in enumerate(NAMES[:60]):
            await publish(bus, request("place", worlds.placement(name), id=name, inbox=""), number)
            if number % 20 == 10:
                assert system.running.nats is not None
                system.running.nats.kill()
        await until(lambda: waiting(bus), holds=lambda left: left == 0, within=120.0)
        found = await answers(system)
        assert {each.type for each in found} == {"io.moorage.placement.accepted.v1"}
        assert Counter(data_of(each)["request"]["id"] for each in found) == Counter(NAMES[:60])
        assert json.loads(found[0].data)["request"]["source"] == "/tests"

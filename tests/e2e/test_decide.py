"""What would be decided, asked on the bus of a whole system; held, and taken over by a placement."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.bus import Bus
from shared.broker.nats.connection import connect
from shared.cloudevents import CloudEvent, parse, structured
from shared.hub.resources import PLACEMENTS
from shared.model.words import Verb
from shared.pipeline.requests import RequestSubject
from shared.process.settings import Settings
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.asking import data_of, request
from tests.support.client import if_there

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]


def subject(verb: Verb) -> str:
    return RequestSubject(worlds.TEAM, worlds.USER, verb).subject


async def decide(bus: Bus, data: Any) -> dict[str, Any]:
    reply = await bus.ask(subject("decide"), structured(request("decide", data, inbox="")), timeout=60)
    found: CloudEvent = parse(reply.payload, reply.headers)
    assert found.type == "io.moorage.placement.answered.v1", data_of(found)
    return data_of(found)


def chosen(answer: dict[str, Any]) -> list[str]:
    return [each["target"]["name"] for each in answer["decision"].get("selected", ())]


async def kill(system: System, *workers: str) -> None:
    """Kill workers, and wait until they are back."""
    children = [system.running.children[worker] for worker in workers]
    before = {child.name: child.said["pid"] for child in children}
    for child in children:
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
    await until(lambda: all(child.said["pid"] != before[child.name] for child in children), "they are back")


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path, worlds.world(1, cpu="4")) as found:
        yield found


async def test_what_would_be_decided_is_told_held_and_taken_over(system: System) -> None:
    bus, _ = await connect("publisher", Settings(nats_url=system.place.nats))
    asked = {"placement": worlds.placement("web"), "objects": [worlds.deployment("web", cpu="3")]}
    answer = await decide(bus, asked)
    assert len(chosen(answer)) == 1
    assert answer["decision"]["selected"][0]["reserved"]["cpu"] == 3.0
    assert await if_there(system.user.get(PLACEMENTS, "web", worlds.NAMESPACE)) is None
    assert await system.reservations() == {}

    hold = (await decide(bus, {**asked, "reserve": "2m"}))["hold"]
    assert [each["cpu"] for each in (await system.reservations()).values()] == [3.0]

    async def refused() -> bool:
        return not chosen(await decide(bus, asked))

    await until(refused)  # the scheduler sees what is held
    await kill(system, "decision", "scheduler")
    assert [each["cpu"] for each in (await system.reservations()).values()] == [3.0]
    assert await refused()
    event = request("place", {**asked, "hold": hold["id"]}, inbox="")
    await bus.publish(subject("place"), structured(event), id="place")
    await until(lambda: if_there(system.user.get(PLACEMENTS, "web", worlds.NAMESPACE)))
    await until(lambda: system.ready("web"))
    (key,) = await system.reservations()
    assert key.endswith(".web")
    await bus.close()

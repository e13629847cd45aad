"""Two copies of every worker share the questions, and a copy that dies leaves nobody without an answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.broker.bus import Bus
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.broker.nats.services import NatsService
from shared.cloudevents import CloudEvent, parse, structured
from shared.pipeline.requests import RequestSubject
from tests.support import worlds
from tests.support.asking import data_of, request, write_users
from tests.support.together import Together, together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

STAGES = ("discovery", "policy", "scheduler", "decision")
SUBJECT = RequestSubject(worlds.TEAM, worlds.USER, "decide").subject
TOLD = {"Busy", "Timeout", "Unavailable"}


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


def question(name: str = "web") -> bytes:
    data = {"placement": worlds.placement(name), "objects": [worlds.deployment(name, cpu="1")]}
    return structured(request("decide", data, inbox=""))


async def ask(bus: Bus) -> CloudEvent:
    reply = await bus.ask(SUBJECT, question(), timeout=30)
    return parse(reply.payload, reply.headers)


def handled(system: Together, name: str) -> list[int]:
    """How many messages each copy of a worker was sent so far."""
    found = [bus for each, bus in system.connections if each == name]
    return [bus.client._nc.stats["in_msgs"] for bus in found if isinstance(bus, NatsBus)]


async def dies(bus: Bus) -> None:
    """It ends with questions in hand, and answers nothing any more."""
    assert isinstance(bus, NatsBus)
    services = [each for each in bus.consumptions if isinstance(each, NatsService)]
    await until(lambda: any(each._questions._working for each in services), pause=0.0)
    for each in services:
        await each.abandon()


async def test_two_copies_share_the_questions_and_one_that_dies_leaves_none_unanswered(
    nats: NatsServer, tmp_path: Path
) -> None:
    users = write_users(tmp_path / "users.yaml", {"user": worlds.USER})
    world = worlds.world(2, cpu="4")
    settings = {"users_file": users, "decide_seconds": 3.0}
    async with together(tmp_path / "system", world, nats=nats.url, copies=2, **settings) as system:
        asker = await NatsBus.connect(nats.url, name="asker")
        before = {name: handled(system, name) for name in (*STAGES, "intake")}
        answers = [await ask(asker) for _ in range(40)]
        assert {each.type for each in answers} == {"io.moorage.placement.answered.v1"}, data_of(answers[0])
        for name in (*STAGES, "intake"):
            share = [now - then for now, then in zip(handled(system, name), before[name], strict=True)]
            assert min(share) >= 8, f"{name}: {share} messages"

        dying = next(bus for name, bus in system.connections if name == "policy")
        found, dead = Counter[str](), asyncio.Event()

        async def asks() -> None:
            while not dead.is_set():
                found[data_of(await ask(asker)).get("code", "Answered")] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(60):
                tasks.create_task(asks())
            await dies(dying)
            dead.set()
        print(json.dumps(found))
        assert found.total() >= 60
        assert found.keys() <= TOLD | {"Answered"}
        assert {(await ask(asker)).type for _ in range(20)} == {"io.moorage.placement.answered.v1"}
        await asker.close()

"""`moorage withdraw`, and the programs of examples/events, on a real nats-server: what they ask, and when they end."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.intake.answers import AnsweredRequest
from services.intake.core import RequestRejected
from shared.broker.bus import Delivery, Stream
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.cloudevents import CONTENT_TYPE, STRUCTURED, CloudEvent, parse
from shared.kube.times import rfc3339
from shared.model.events import ReadyData, RemovedData
from shared.model.refs import PlacementRef
from shared.pipeline import topology
from shared.pipeline.events import PlacementEvent
from shared.pipeline.requests import STREAM, RequestSubject
from tests.support.process import Process, process
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
WEB = PlacementRef(workspace="root:team", namespace="shop", name="hello")
AT = rfc3339(1_800_000_000.0)


class Desk:
    """NATS, and somebody at it who answers requests as intake does: with `generation`, or by what is `rejected`."""

    def __init__(self, server: NatsServer, bus: NatsBus) -> None:
        self.server = server
        self.bus = bus
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.metadata: dict[str, Any] = {"uid": "u", "generation": 2}
        self.rejected = ""

    async def answer(self, delivery: Delivery) -> None:
        subject, event = RequestSubject.parse(delivery.subject), parse(delivery.payload, delivery.headers)
        self.asked.append((subject.verb, json.loads(event.data)))
        answered = AnsweredRequest(subject=subject, key=event.id, source=event.source, id=event.id)
        answer = answered.accepted(WEB, self.metadata, AT)
        if self.rejected:
            answer = answered.rejected(RequestRejected("Forbidden", self.rejected), WEB, AT)
        headers = {CONTENT_TYPE: STRUCTURED}
        await self.bus.publish(answer.subject, answer.event.encode(), id=answer.id, headers=headers)
        await self.bus.tell(str(event.extensions["replyto"]), answer.event.encode(), headers=headers)

    async def happens(self, kind: Any, *, uid: str = "u", generation: int = 2, **more: Any) -> None:
        data = kind(placement=WEB, uid=uid, generation=generation, attempt=generation, **more)
        event = PlacementEvent(data=data, occasion=f"{uid}{generation}", at=AT)
        await self.bus.publish(event.subject, event.encoded({}), id=event.id)

    @asynccontextmanager
    async def runs(self, *command: str) -> AsyncIterator[Process]:
        env = {"MOORAGE_NATS_URL": self.server.url, "MOORAGE_WORKSPACE": "root:team", "MOORAGE_USER": "alice"}
        async with process(list(command), {**os.environ, **env}) as running:
            yield running


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with NatsServer(tmp_path / "nats") as server:
        bus = await NatsBus.connect(server.url, name="test")
        consumer = topology.Consumer(name="intake-requests", stream=STREAM.name, subject="moorage.requests.>")
        streams: tuple[Stream, ...] = (*topology.streams(), STREAM)
        await bus.provision(streams, (consumer,))
        found = Desk(server, bus)
        await bus.consume(consumer, found.answer)
        yield found
        await bus.close()


async def test_it_is_asked_that_one_is_withdrawn_and_said_what_will_tell_the_end(desk: Desk) -> None:
    async with desk.runs("moorage", "withdraw", "shop/hello") as command:
        assert await command.ends() == 0, command.output
        assert "shop/hello is being removed" in command.lines
        assert "moorage wait shop/hello --for Removed" in command.output
    assert desk.asked == [("withdraw", {"namespace": "shop", "name": "hello"})]


async def test_the_end_is_waited_for_of_all_of_it_and_of_this_object_alone(desk: Desk) -> None:
    await desk.happens(RemovedData, uid="former")
    async with desk.runs("moorage", "withdraw", "hello", "-n", "shop", "--wait") as command:
        await until(lambda: "is being removed" in command.output)
        await desk.happens(RemovedData, target={"workspace": "root:p", "name": "one"}, generation=1)
        await until(lambda: command.output.count("Removed ") == 1)
        await desk.happens(RemovedData)
        assert await command.ends() == 0, command.output


async def test_one_that_is_not_there_is_as_good_and_nothing_is_waited_for(desk: Desk) -> None:
    desk.metadata = {}
    async with desk.runs("moorage", "withdraw", "shop/hello", "--wait", "--timeout", "1h") as command:
        assert await command.ends() == 0, command.output
        assert command.lines == ["shop/hello is not there"]


async def test_what_is_rejected_is_told_with_its_reason_and_exit_code_1(desk: Desk) -> None:
    desk.rejected = "alice may not delete placements"
    async with desk.runs("moorage", "withdraw", "shop/hello") as command:
        assert await command.ends() == 1
        assert "rejected: alice may not delete placements (Forbidden)" in command.output


async def test_asking_again_with_the_same_id_is_the_same_request_as_json(desk: Desk) -> None:
    found: list[CloudEvent] = []
    for _ in range(2):
        async with desk.runs("moorage", "withdraw", "shop/hello", "--id", "mine", "-o", "json") as command:
            assert await command.ends() == 0, command.output
            found.append(parse(command.lines[-1].encode(), {}))
    assert [json.loads(each.data)["request"]["id"] for each in found] == ["mine", "mine"]


@pytest.mark.parametrize("arguments", [[], ["a/b/c"], ["shop/hello", "-n", "other"], ["shop/hello", "--timeout", "x"]])
async def test_a_command_line_that_names_no_one_placement_ends_with_2(desk: Desk, arguments: list[str]) -> None:
    async with desk.runs("moorage", "withdraw", *arguments) as command:
        assert await command.ends() == 2
    assert desk.asked == []


@pytest.mark.parametrize("program", ["place.py", "place.js"])
async def test_an_example_does_not_end_with_what_was_ready_before(desk: Desk, program: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples/events" / program)]
    if program.endswith(".js"):
        command = await _javascript(tmp_path)
    await desk.happens(ReadyData, targets=1, generation=1)
    await desk.happens(ReadyData, targets=1, uid="former")
    async with desk.runs(*command) as running:
        await until(lambda: running.output.count("ready.v1") == 2)
        await desk.happens(ReadyData, targets=1)
        assert await running.ends() == 0, running.output
        assert running.output.count("ready.v1") == 3


async def _javascript(folder: Path) -> list[str]:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node on this machine")
    shutil.copytree(ROOT / "examples/events", folder / "events")
    npm = await asyncio.create_subprocess_exec("npm", "install", "--no-save", "nats@2", cwd=folder / "events")
    if await npm.wait():
        pytest.skip("npm cannot install the package nats here")
    return ["node", str(folder / "events/place.js")]

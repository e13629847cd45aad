"""`moorage dead` against a real nats-server: what was given up is listed, shown and replayed."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.broker.bus import Bus, Consumer, DeadLetter, Delivery, Reject, Stream
from shared.broker.dead import DEAD, DEAD_STREAM
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from tests.support.process import process
from tests.support.waiting import until

CAUSE = "this is no message of ours"
SUBJECT = "moorage.test.garbage"


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[NatsBus]:
    """A broker on which two messages, one of them no text, have been rejected."""
    found = await NatsBus.connect(nats.url, name="test")
    consumer = Consumer(name="test", stream="TEST", subject="moorage.test.>")
    streams = (
        Stream(name="TEST", subjects=("moorage.test.>",), description="test", max_bytes=1 << 24),
        Stream(name=DEAD_STREAM, subjects=(f"{DEAD}.>",), description="dead letters", max_bytes=1 << 24),
    )
    await found.provision(streams, (consumer,))

    async def refuse(_delivery: Delivery) -> None:
        raise Reject(CAUSE)

    consumption = await found.consume(consumer, refuse)
    await found.publish(SUBJECT, b'{"what": "is this"}', id="1")
    await found.publish(f"{SUBJECT}.raw", b"\xff\x00", id="2")
    await until(lambda: letters(found), holds=lambda dead: len(dead) == 2)
    await consumption.drain(5)
    yield found
    await found.close()


async def letters(bus: Bus) -> list[DeadLetter]:
    return [letter async for letter in bus.dead_letters()]


async def dead(nats: NatsServer, *args: str) -> tuple[int, str]:
    """Exit code and output of `moorage dead`."""
    async with process(["moorage", "dead", *args, "--nats-url", nats.url], dict(os.environ)) as command:
        return await command.ends(), command.output


async def test_messages_that_were_given_up_are_listed_with_their_cause(nats: NatsServer, bus: NatsBus) -> None:
    code, output = await dead(nats, "list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == ["1", "2"]
    assert all(CAUSE in line and SUBJECT in line for line in output.splitlines())

    code, output = await dead(nats, "list", "-o", "json")
    assert code == 0
    assert [letter["cause"] for letter in json.loads(output)] == [CAUSE, CAUSE]


async def test_one_is_shown_whole_also_when_it_is_no_text(nats: NatsServer, bus: NatsBus) -> None:
    assert json.loads((await dead(nats, "show", "1"))[1])["payload"] == {"what": "is this"}
    assert json.loads((await dead(nats, "show", "2"))[1])["payload"] == "\\xff\x00"


async def test_replaying_sends_it_again_and_takes_it_out_of_the_list(nats: NatsServer, bus: NatsBus) -> None:
    again: asyncio.Queue[str] = asyncio.Queue()

    async def accept(delivery: Delivery) -> None:
        again.put_nowait(delivery.subject)
        await delivery.ack()

    consumption = await bus.consume(Consumer(name="test", stream="TEST", subject="moorage.test.>"), accept)
    assert await dead(nats, "replay", "1") == (0, f"replayed 1 to {SUBJECT}")
    async with asyncio.timeout(10):
        assert await again.get() == SUBJECT
    code, output = await dead(nats, "replay", "--all")
    assert (code, output) == (0, f"replayed 2 to {SUBJECT}.raw")
    assert await dead(nats, "list") == (0, "no dead letters")
    await consumption.drain(5)


@pytest.mark.parametrize("action", ["show", "replay"])
async def test_a_message_that_is_not_there_is_one_line(nats: NatsServer, bus: NatsBus, action: str) -> None:
    code, output = await dead(nats, action, "99")
    assert code == 1
    assert output.startswith("moorage: there is no dead letter 99; `moorage dead list` shows")
    assert len(output.splitlines()) == 1

"""Reading a stream of a real nats-server: what is there, then what is added, each message once and in order."""

import asyncio
import logging
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from shared.broker.nats.bus import NatsBus
from shared.broker.nats.extent import TOLD_EVERY, Extent, extent, is_behind
from shared.broker.nats.reader import after, follow, since
from shared.broker.nats.server import NatsServer
from tests.contract.conftest import QUICK, Lab
from tests.support.waiting import until

HOUR = timedelta(hours=1)


def ago(time: timedelta) -> str:
    return (datetime.now(UTC) - time).isoformat()


async def test_what_is_there_comes_first_and_then_what_is_added(nats_lab: Lab) -> None:
    bus = await nats_lab.bus()
    assert isinstance(bus, NatsBus)
    for number in range(3):
        await bus.publish(nats_lab.subject("a", str(number)), b"%d" % number, id=f"{number}")
    await bus.publish(nats_lab.subject("b"), b"of another subject", id="other")
    found = []
    async with aclosing(follow(bus.client, nats_lab.stream, nats_lab.subject("a", ">"), since(ago(HOUR)))) as messages:
        async for message in messages:
            if message is None:
                assert found == [b"0", b"1", b"2"]
                await bus.publish(nats_lab.subject("a", "3"), b"3", id="3")
                continue
            found.append(message.data)
            if len(found) == 4:
                break
    assert found == [b"0", b"1", b"2", b"3"]


async def test_where_nothing_is_there_it_says_so_at_once(nats_lab: Lab) -> None:
    bus = await nats_lab.bus()
    assert isinstance(bus, NatsBus)
    await bus.publish(nats_lab.subject("a"), b"too early", id="early")
    start = since((datetime.now(UTC) + HOUR).isoformat())
    async with aclosing(follow(bus.client, nats_lab.stream, nats_lab.subject(">"), start)) as messages:
        assert await anext(messages) is None


async def test_it_can_begin_after_a_message_that_was_read_before(nats_lab: Lab) -> None:
    bus = await nats_lab.bus()
    assert isinstance(bus, NatsBus)
    for number in range(3):
        await bus.publish(nats_lab.subject("a"), b"%d" % number, id=f"{number}")
    async with aclosing(follow(bus.client, nats_lab.stream, nats_lab.subject(">"), after(0))) as messages:
        first = await anext(messages)
    assert first is not None
    rest = after(first.metadata.sequence.stream)
    async with aclosing(follow(bus.client, nats_lab.stream, nats_lab.subject(">"), rest)) as messages:
        found = [await anext(messages), await anext(messages)]
    assert [message.data for message in found if message is not None] == [b"1", b"2"]


async def test_a_broker_that_is_killed_neither_loses_a_message_nor_doubles_one(
    own_lab: Lab, own_server: NatsServer
) -> None:
    bus, source, number = await own_lab.bus(), await own_lab.bus(), 400
    assert isinstance(bus, NatsBus)
    found: list[int] = []

    async def read() -> None:
        start = since(ago(HOUR))
        async with aclosing(follow(bus.client, own_lab.stream, own_lab.subject(">"), start, QUICK)) as messages:
            async for message in messages:
                found.extend(() if message is None else (int(message.data),))

    reading = asyncio.create_task(read())
    for each in range(number):
        await source.publish(own_lab.subject("a"), b"%d" % each, id=f"{each}")
        if each in (number // 3, number // 2):
            own_server.kill()
            await own_server.ready()
    await until(lambda: len(found) >= number)
    reading.cancel()
    assert found == list(range(number))


async def test_a_copy_that_stays_behind_is_told_as_a_warning_once_in_a_while(
    nats_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await nats_lab.bus()
    assert isinstance(bus, NatsBus)
    await bus.publish(nats_lab.subject("a"), b"1", id="1")
    there = await extent(bus.client, nats_lab.stream)
    with caplog.at_level(logging.INFO, "moorage.nats"):
        for in_vain in (0, TOLD_EVERY - 1, TOLD_EVERY):
            assert await is_behind(bus.client, nats_lab.stream, nats_lab.subject(">"), Extent(), there, in_vain)
    assert [each.levelno for each in caplog.records] == [logging.INFO, logging.WARNING, logging.INFO]
    assert not await is_behind(bus.client, nats_lab.stream, nats_lab.subject(">"), there, there)

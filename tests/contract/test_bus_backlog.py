"""Streams that others publish into: a backlog keeps what waits, and no more; and what is told is stored nowhere."""

import asyncio
from collections.abc import Callable

import pytest
from nats.aio.msg import Msg

from shared.broker.bus import Bus, BusError, Delivery, Stream
from shared.broker.memory.bus import MemoryBus
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.pipeline.requests import STREAM as REQUESTS
from tests.contract.conftest import Lab
from tests.support.waiting import until


async def test_of_a_backlog_so_many_of_one_subject_wait_and_more_are_refused(lab: Lab) -> None:
    bus = await lab.bus(backlog=2)
    for number in range(2):
        await bus.publish(lab.subject("a"), b"", id=str(number))
    with pytest.raises(BusError):
        await bus.publish(lab.subject("a"), b"", id="2")
    assert await bus.publish(lab.subject("b"), b"", id="3")


async def test_what_is_handled_makes_room_in_a_backlog(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker, backlog=1)
    seen = list[bytes]()

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)

    await bus.consume(worker, handle)
    for number in range(3):

        async def published(number: int = number) -> bool:
            try:
                return await bus.publish(lab.subject("a"), str(number).encode(), id=str(number))
            except BusError:
                return False

        await until(published)
    await until(lambda: seen == [b"0", b"1", b"2"])


async def test_what_waits_before_a_message_is_told_in_order_with_its_content(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1)
    bus = await lab.bus(worker, backlog=5)
    large = b"1" * 1_040_000
    for number, (name, payload) in enumerate([("a", b"first"), ("b", b"other"), ("a", large), ("a", b"last")]):
        await bus.publish(lab.subject(name), payload, id=str(number), headers={"ce-id": f"event-{number}"})
    found = [each async for each in bus.waiting(lab.stream, lab.subject("a"), 1 << 60)]
    assert [(each.payload, each.headers["ce-id"]) for each in found] == [
        (b"first", "event-0"),
        (large, "event-2"),
        (b"last", "event-3"),
    ]
    earlier = [each.payload async for each in bus.waiting(lab.stream, lab.subject("a"), found[-1].sequence)]
    assert earlier == [b"first", large]
    assert [each async for each in bus.waiting(lab.stream, lab.subject("c"), 1 << 60)] == []
    handled = list[bytes]()

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery.payload)

    await bus.consume(worker, handle)
    await until(lambda: len(handled) == 4)

    async def gone() -> bool:
        return not [each async for each in bus.waiting(lab.stream, lab.subject("a"), 1 << 60)]

    await until(gone)


async def test_a_delivery_knows_its_place_in_the_stream_however_often_it_comes(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1)
    bus = await lab.bus(worker)
    seen = list[tuple[bytes, int, int]]()
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        seen.append((delivery.payload, delivery.sequence, delivery.attempt))
        if len(seen) == 1:
            raise RuntimeError("once")
        if len(seen) == 3:
            done.set()

    await bus.publish(lab.subject("a"), b"first", id="1")
    await bus.publish(lab.subject("b"), b"second", id="2")
    await bus.consume(worker, handle)
    await done.wait()
    assert sorted(seen) == [(b"first", 1, 1), (b"first", 1, 2), (b"second", 2, 1)]


async def test_sequences_of_a_backlog_go_on_growing_when_it_is_made_anew(own_server: NatsServer) -> None:
    bus = await NatsBus.connect(own_server.url, name="test")
    try:
        backlog = Stream(name="BACKLOG", subjects=("backlog.>",), description="test", backlog=9)
        await bus.provision((backlog,), ())
        await bus.publish("backlog.a", b"", id="1")
        last = (await bus.client.api("STREAM.INFO.BACKLOG"))["state"]["last_seq"]
        await bus.provision((backlog,), ())
        assert (await bus.client.api("STREAM.INFO.BACKLOG"))["state"]["last_seq"] == last
        await bus.client.api("STREAM.DELETE.BACKLOG")
        await bus.provision((backlog,), ())
        await bus.publish("backlog.a", b"", id="2")
        assert (await bus.client.api("STREAM.INFO.BACKLOG"))["state"]["first_seq"] > last
    finally:
        await bus.close()


async def test_what_is_told_reaches_who_listens(lab: Lab) -> None:
    bus = await lab.bus()
    heard = await listening(bus, f"_INBOX.{lab.token}")
    await bus.tell(f"_INBOX.{lab.token}", b"news", headers={"kind": "good"})
    await until(lambda: heard() == [(b"news", "good")])
    with pytest.raises(ValueError, match="not a subject"):
        await bus.tell("a b", b"")


async def listening(bus: Bus, subject: str) -> Callable[[], list[tuple[bytes, str]]]:
    """A function that returns what came on a subject."""
    if isinstance(bus, MemoryBus):
        told = bus.broker.told
        return lambda: [(each.payload, each.headers["kind"]) for each in told if each.subject == subject]
    assert isinstance(bus, NatsBus)
    found = list[tuple[bytes, str]]()

    def hear(message: Msg) -> None:
        found.append((message.data, (message.headers or {})["kind"]))

    await bus.client.subscribe(subject, hear)
    await bus.client.flush()
    return lambda: found


async def test_an_id_of_nats_that_another_used_before_stands_in_nobodys_way(own_server: NatsServer) -> None:
    bus = await NatsBus.connect(own_server.url, name="test")
    try:
        await bus.provision((REQUESTS,), ())
        assert await bus.publish("moorage.requests.a.mallory.place", b"", id="guessed")
        await until(lambda: bus.publish("moorage.requests.b.alice.place", b"", id="guessed"))
    finally:
        await bus.close()

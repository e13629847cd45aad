"""The bus in memory keeps time by the clock that it is given, and its streams within their bounds."""

import asyncio

import pytest

from shared.broker.bus import BusError, Consumer, Delivery, Retry, Stream
from shared.broker.memory.bus import MemoryBroker, MemoryBus

WORKER = Consumer(name="worker", stream="S", subject="s.>", ack_wait=3600.0)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> MemoryBroker:
    return MemoryBroker(clock)


async def provisioned(broker: MemoryBroker, consumer: Consumer = WORKER, **settings: object) -> MemoryBus:
    bus = MemoryBus(broker)
    stream = Stream(**{"name": "S", "subjects": ("s.>",), "description": "", **settings})  # type: ignore[arg-type]
    await bus.provision((stream,), (consumer,))
    return bus


async def settled() -> None:
    """Let every task that can run do so; nothing here waits for anything outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_a_crashed_worker_held_comes_again_after_ack_wait_and_not_before(
    broker: MemoryBroker, clock: Clock
) -> None:
    doomed, heir = await provisioned(broker), await provisioned(broker)
    attempts: list[int] = []

    async def hang(_delivery: Delivery) -> None:
        await asyncio.Event().wait()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    await doomed.consume(WORKER, hang)
    await doomed.publish("s.a", b"", id="1")
    await settled()
    await doomed.close()
    await heir.consume(WORKER, handle)
    clock.now += 3599.9
    broker.wake()
    await settled()
    assert attempts == []
    clock.now += 0.2
    broker.wake()
    await settled()
    assert attempts == [2]


async def test_a_retry_comes_exactly_when_asked(broker: MemoryBroker, clock: Clock) -> None:
    bus = await provisioned(broker)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise Retry(100.0)

    await bus.consume(WORKER, handle)
    await bus.publish("s.a", b"", id="1")
    await settled()
    for step, expected in ((99.9, [1]), (0.1, [1, 2]), (99.9, [1, 2]), (0.1, [1, 2, 3])):
        clock.now += step
        broker.wake()
        await settled()
        assert attempts == expected


async def test_an_id_is_forgotten_after_the_duplicate_window(broker: MemoryBroker, clock: Clock) -> None:
    bus = await provisioned(broker, duplicate_window=600.0)
    assert await bus.publish("s.a", b"", id="1")
    clock.now += 599.0
    assert not await bus.publish("s.a", b"", id="1")
    clock.now += 1.0
    assert await bus.publish("s.a", b"", id="1")


async def test_old_messages_make_room(broker: MemoryBroker, clock: Clock) -> None:
    bus = await provisioned(broker, max_bytes=30, max_age=50.0)
    for number in range(5):
        await bus.publish("s.a", b"x" * 10, id=str(number))
    messages = broker.streams["S"].messages
    assert sorted(messages) == [3, 4, 5]
    clock.now += 50.0
    await bus.publish("s.a", b"new", id="new")
    assert sorted(messages) == [6]


async def test_no_more_is_in_hand_than_the_slots(broker: MemoryBroker) -> None:
    worker = Consumer(name="worker", stream="S", subject="s.>", concurrency=2)
    bus = await provisioned(broker, worker)
    gate, begun = asyncio.Event(), list[bytes]()

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.payload)
        await gate.wait()

    await bus.consume(worker, handle)
    for number in range(4):
        await bus.publish("s.a", b"%d" % number, id=str(number))
    await settled()
    assert begun == [b"0", b"1"]
    gate.set()
    await settled()
    assert begun == [b"0", b"1", b"2", b"3"]
    await bus.close()


async def test_no_retry_uses_up_its_deliveries_within_the_day_that_a_stream_keeps_it() -> None:
    consumer, stream = Consumer(name="c", stream="S", subject="s.>"), Stream(name="S", subjects=(), description="")
    assert consumer.patience + stream.max_age / consumer.patient_delay < consumer.max_deliver


async def test_a_subject_that_no_stream_takes_is_an_error(broker: MemoryBroker) -> None:
    bus = await provisioned(broker)
    with pytest.raises(BusError, match="no stream takes elsewhere"):
        await bus.publish("elsewhere", b"", id="1")

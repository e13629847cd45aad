"""The bus in the memory of one process: for tests, and for a pipeline that runs in one process.

`MemoryBroker` is what a server would be, and `MemoryBus` a connection to it: closing a bus without draining it is
a crash of its worker, and a new bus on the same broker is the worker's restart.
"""

import asyncio
import hashlib
import heapq
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from shared.broker.bus import ID_HEADER, Bus, BusError, Consumer, DeadLetter, Delivery, Stream
from shared.broker.dead import (
    CAUSE_HEADER,
    CONSUMER_HEADER,
    DEAD,
    DEAD_STREAM,
    origin,
    replay_headers,
    replay_id,
    replay_to,
)
from shared.broker.subjects import check_subject, covers
from shared.broker.window import Window

log = logging.getLogger("moorage.bus")


class Stored(msgspec.Struct, frozen=True):
    """A message in a stream."""

    sequence: int
    subject: str
    payload: bytes
    headers: dict[str, str]
    time: float


class MemoryStream:
    """Messages by sequence, the last sequence per subject, and the ids seen within the window."""

    def __init__(self, settings: Stream) -> None:
        self.settings = settings
        self.messages: dict[int, Stored] = {}
        self.last = 0
        self._bytes = 0
        self._by_subject: dict[str, int] = {}
        self._ids: dict[str, float] = {}

    def add(self, subject: str, payload: bytes, headers: dict[str, str], now: float) -> bool:
        """Store a message; False when its id is known. Old messages make room for it."""
        self._forget(now)
        if headers[ID_HEADER] in self._ids:
            return False
        self._ids[headers[ID_HEADER]] = now
        if self.settings.last_per_subject:
            self.remove(self._by_subject.get(subject, 0))
            self._by_subject[subject] = self.last + 1
        self.last += 1
        self.messages[self.last] = Stored(self.last, subject, payload, headers, now)
        self._bytes += len(payload)
        while self._bytes > self.settings.max_bytes:
            self.remove(next(iter(self.messages)))
        return True

    def remove(self, sequence: int) -> None:
        if message := self.messages.pop(sequence, None):
            self._bytes -= len(message.payload)

    def _forget(self, now: float) -> None:
        while self._ids and next(iter(self._ids.values())) <= now - self.settings.duplicate_window:
            del self._ids[next(iter(self._ids))]
        while self.messages and (first := next(iter(self.messages.values()))).time <= now - self.settings.max_age:
            self.remove(first.sequence)


class MemoryConsumer:
    """A durable consumer: how far it has read, what is in hand, and who shares it."""

    def __init__(self, settings: Consumer, stream: MemoryStream, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.takers: list[MemoryConsumption] = []
        self._stream = stream
        self._clock = clock
        self._read = 0
        self._deliveries: dict[int, int] = {}  # sequence -> how often delivered, while unanswered
        self._due: dict[int, float] = {}  # sequence -> when it is delivered again
        self._again: list[tuple[float, int]] = []  # the same as a heap, with entries that no longer hold
        self._timer: asyncio.TimerHandle | None = None

    def pump(self) -> None:
        """Deliver what can be delivered now, in turn to those with a free slot, and come back when more is due."""
        now = self._clock()
        while (taker := self._free_taker()) is not None and (message := self._next(now)) is not None:
            attempt = self._deliveries[message.sequence] = self._deliveries.get(message.sequence, 0) + 1
            self.again_at(message.sequence, now + self.settings.ack_wait)
            taker.take(message, attempt)
            self.takers.remove(taker)
            self.takers.append(taker)  # the others come first, next time
        self._set_timer(now)

    def again_at(self, sequence: int, due: float) -> None:
        """Deliver an unanswered message again at this time, and not at the one set before."""
        if sequence in self._deliveries:
            self._due[sequence] = due
            heapq.heappush(self._again, (due, sequence))

    def done(self, sequence: int) -> None:
        """The message is done with, here."""
        self._deliveries.pop(sequence, None)
        self._due.pop(sequence, None)

    def _free_taker(self) -> "MemoryConsumption | None":
        return next((taker for taker in self.takers if taker.free), None)

    def _next(self, now: float) -> Stored | None:
        while self._again and self._again[0][0] <= now:
            due, sequence = heapq.heappop(self._again)
            if self._due.get(sequence) != due:
                continue
            message = self._stream.messages.get(sequence)  # None: superseded, or too old
            if message is not None and self._deliveries[sequence] < self.settings.max_deliver:
                return message
            self.done(sequence)
        while self._read < self._stream.last:
            self._read += 1
            message = self._stream.messages.get(self._read)
            if message is not None and covers(self.settings.subject, message.subject):
                return message
        return None

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._again and any(taker.free for taker in self.takers):
            delay = max(0.0, self._again[0][0] - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self.pump)


class MemoryBroker:
    """Streams, consumers and payloads. `clock` gives seconds since 1970; a test that moves its own calls `wake`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.streams: dict[str, MemoryStream] = {}
        self.consumers: dict[tuple[str, str], MemoryConsumer] = {}
        self.blobs: dict[str, bytes] = {}

    def wake(self) -> None:
        """Deliver whatever is due."""
        for consumer in self.consumers.values():
            consumer.pump()

    def stream_of(self, subject: str) -> MemoryStream:
        """The stream that takes a subject; raises `BusError` when none does."""
        for stream in self.streams.values():
            if any(covers(pattern, subject) for pattern in stream.settings.subjects):
                return stream
        raise BusError(f"no stream takes {subject}")


class MemoryDelivery:
    """One message in hand; see the port."""

    def __init__(self, broker: MemoryBroker, consumer: MemoryConsumer, message: Stored, attempt: int) -> None:
        self._broker = broker
        self._consumer = consumer
        self._sequence = message.sequence
        self.subject = message.subject
        self.payload = message.payload
        self.headers: Mapping[str, str] = message.headers
        self.attempt = attempt

    async def ack(self) -> None:
        self._consumer.done(self._sequence)

    async def nak(self, delay: float) -> None:
        self._consumer.again_at(self._sequence, self._broker.clock() + delay)
        self._consumer.pump()

    async def terminate(self, reason: str) -> None:  # noqa: ARG002 - the broker's own record of it has no reader here
        self._consumer.done(self._sequence)

    async def in_progress(self) -> None:
        self._consumer.again_at(self._sequence, self._broker.clock() + self._consumer.settings.ack_wait)


class MemoryConsumption:
    """A copy of a worker that takes its share of a consumer."""

    def __init__(
        self, bus: "MemoryBus", consumer: MemoryConsumer, handle: Callable[[Delivery], Awaitable[None]]
    ) -> None:
        self._bus = bus
        self._consumer = consumer
        self._window = Window(bus, consumer.settings, handle, on_room=consumer.pump)
        consumer.takers.append(self)
        consumer.pump()

    @property
    def free(self) -> bool:
        """True if it can take one more message."""
        return self._window.room > 0

    def take(self, message: Stored, attempt: int) -> None:
        self._window.take(MemoryDelivery(self._bus.broker, self._consumer, message, attempt))

    async def drain(self, timeout: float) -> bool:
        self._leave()
        finished = await self._window.drain(timeout)
        await self.abandon()
        return finished

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        self._leave()
        await self._window.abandon()

    def _leave(self) -> None:
        if self in self._consumer.takers:
            self._consumer.takers.remove(self)
        self._bus.consumptions.discard(self)
        self._consumer.pump()


class MemoryBus(Bus):
    """A connection to a broker in memory."""

    name: ClassVar[str] = "memory"

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self.consumptions: set[MemoryConsumption] = set()
        self._open = True

    async def provision(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> None:
        for settings in streams:
            self.broker.streams.setdefault(settings.name, MemoryStream(settings)).settings = settings
        for consumer in consumers:
            key = (consumer.stream, consumer.name)
            fresh = MemoryConsumer(consumer, self.broker.streams[consumer.stream], self.broker.clock)
            self.broker.consumers.setdefault(key, fresh).settings = consumer

    async def missing(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> list[str]:
        found = [f"stream {each.name}" for each in streams if each.name not in self.broker.streams]
        there = self.broker.consumers
        return found + [f"consumer {each.name}" for each in consumers if (each.stream, each.name) not in there]

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        if not self._open:
            raise BusError("the connection was closed")
        stream = self.broker.stream_of(check_subject(subject))
        stored = stream.add(subject, payload, {**(headers or {}), ID_HEADER: id}, self.broker.clock())
        self.broker.wake()
        return stored

    async def consume(self, consumer: Consumer, handle: Callable[[Delivery], Awaitable[None]]) -> MemoryConsumption:
        consumption = MemoryConsumption(self, self.broker.consumers[consumer.stream, consumer.name], handle)
        self.consumptions.add(consumption)
        return consumption

    async def put_blob(self, payload: bytes) -> str:
        claim = hashlib.sha256(payload).hexdigest()
        self.broker.blobs[claim] = payload
        return claim

    async def get_blob(self, claim: str) -> bytes:
        return self.broker.blobs[claim]

    async def dead_letters(self, subject: str = ">") -> AsyncIterator[DeadLetter]:
        for message in tuple(self.broker.streams[DEAD_STREAM].messages.values()):
            if covers(f"{DEAD}.{subject}", message.subject):
                yield DeadLetter(
                    sequence=message.sequence,
                    subject=origin(message.subject, message.headers),
                    consumer=message.headers.get(CONSUMER_HEADER, ""),
                    cause=message.headers.get(CAUSE_HEADER, ""),
                    time=datetime.fromtimestamp(message.time, UTC).isoformat(),
                    payload=message.payload,
                    headers=message.headers,
                )

    async def replay(self, letter: DeadLetter) -> None:
        await self.publish(replay_to(letter), letter.payload, id=replay_id(letter), headers=replay_headers(letter))
        self.broker.streams[DEAD_STREAM].remove(letter.sequence)

    def healthy(self) -> bool:
        return self._open

    async def close(self) -> None:
        """Close at once; deliveries in hand are left unanswered and come again. `drain` first to end well."""
        self._open = False
        for consumption in tuple(self.consumptions):
            await consumption.abandon()

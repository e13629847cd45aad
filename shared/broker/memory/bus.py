"""The bus in the memory of one process: for tests, and for a pipeline that runs in one process.

`MemoryBroker` is what a server would be, and `MemoryBus` a connection to it: closing a bus without draining it is
a crash of its worker, and a new bus on the same broker is the worker's restart.
"""

import asyncio
import hashlib
import heapq
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

from shared.broker.bus import (
    ID_HEADER,
    Asked,
    Bus,
    BusError,
    Consumer,
    DeadLetter,
    Dealing,
    Delivery,
    Lag,
    Parking,
    Reply,
    Service,
    Stream,
    Unanswered,
    WaitingMessage,
    unwatched,
)
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
from shared.broker.memory.listening import MemoryListening, Told
from shared.broker.memory.stream import MemoryStream, Stored
from shared.broker.services import Questions, answered
from shared.broker.subjects import check_subject, covers
from shared.broker.window import Window

log = logging.getLogger("moorage.bus")


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

    @property
    def backlog(self) -> Lag:
        """What waits for it."""
        unread = (each for sequence, each in self._stream.messages.items() if sequence > self._read)
        pending = sum(covers(self.settings.subject, each.subject) for each in unread)
        return Lag(pending, len(self._deliveries))

    def again_at(self, sequence: int, due: float) -> None:
        """Deliver an unanswered message again at this time, and not at the one set before."""
        if sequence in self._deliveries:
            self._due[sequence] = due
            heapq.heappush(self._again, (due, sequence))

    def done(self, sequence: int) -> None:
        """The message is done with, here."""
        self._deliveries.pop(sequence, None)
        self._due.pop(sequence, None)
        if self._stream.settings.backlog:
            self._stream.remove(sequence)

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
        self.services: list[MemoryService] = []
        self.told: deque[Told] = deque(maxlen=1000)
        self.listening: list[MemoryListening] = []

    def wake(self) -> None:
        """Deliver whatever is due."""
        for consumer in self.consumers.values():
            consumer.pump()

    async def ask(self, asked: Asked, timeout: float) -> Reply:
        """The answer of a copy that serves a subject; the others come first, next time."""
        serving = next((each for each in self.services if covers(each.service.subject, asked.subject)), None)
        if serving is None:
            raise Unanswered("Nobody", f"{asked.subject}: nobody answers there")
        self.services.remove(serving)
        self.services.append(serving)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        async def send(found: Reply) -> None:
            if not reply.done():
                reply.set_result(found)

        serving.questions.take(asked, send)
        try:
            async with asyncio.timeout(timeout):
                found = await reply
        except TimeoutError:
            raise Unanswered("Timeout", f"{asked.subject}: no answer within {timeout:g} s") from None
        return answered(found.payload, found.headers)

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
        self.sequence = message.sequence
        self.subject = message.subject
        self.payload = message.payload
        self.headers: Mapping[str, str] = message.headers
        self.attempt = attempt
        self.handed_on = False
        self.stored_at = message.time
        self.pending = 0

    async def ack(self) -> None:
        self._consumer.done(self.sequence)

    async def nak(self, delay: float) -> None:
        self._consumer.again_at(self.sequence, self._broker.clock() + delay)
        self._consumer.pump()

    async def terminate(self, reason: str) -> None:  # noqa: ARG002 - the broker's own record of it has no reader here
        self._consumer.done(self.sequence)

    async def in_progress(self) -> None:
        self._consumer.again_at(self.sequence, self._broker.clock() + self._consumer.settings.ack_wait)


class MemoryConsumption:
    """A copy of a worker that takes its share of a consumer."""

    def __init__(
        self,
        bus: "MemoryBus",
        consumer: MemoryConsumer,
        handle: Callable[[Delivery], Awaitable[None]],
        dealing: Dealing | None,
        parking: Parking,
    ) -> None:
        self.copy = dealing.copy if dealing is not None else ""
        self._bus = bus
        self._consumer = consumer
        self._window = Window(
            bus,
            consumer.settings,
            handle,
            on_room=consumer.pump,
            dealing=dealing,
            hand_on=self._hand_on,
            parking=parking,
        )
        consumer.takers.append(self)
        consumer.pump()

    @property
    def free(self) -> bool:
        """True if it can take one more message."""
        return self._window.room > 0

    def take(self, message: Stored, attempt: int) -> None:
        self._window.take(MemoryDelivery(self._bus.broker, self._consumer, message, attempt))

    async def _hand_on(self, delivery: Delivery, copy: str) -> None:
        other = next((each for each in self._consumer.takers if each.copy == copy), None)
        if other is None:
            self._window.keep(delivery)
        else:
            delivery.handed_on = True
            other._window.take(delivery)  # noqa: SLF001 - of another of the same class

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


class MemoryService:
    """A copy of a worker that serves questions."""

    def __init__(self, bus: "MemoryBus", service: Service, handle: Callable[[Asked], Awaitable[Reply]]) -> None:
        self._bus = bus
        self.service = service
        self.questions = Questions(service, handle)
        bus.broker.services.append(self)

    async def drain(self, timeout: float) -> bool:
        self._leave()
        return await self.questions.drain(timeout)

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        self._leave()
        await self.questions.abandon()

    def _leave(self) -> None:
        if self in self._bus.broker.services:
            self._bus.broker.services.remove(self)
        self._bus.consumptions.discard(self)


class MemoryBus(Bus):
    """A connection to a broker in memory."""

    name: ClassVar[str] = "memory"

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self.consumptions: set[MemoryConsumption | MemoryService] = set()
        self.lags = {}
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
        found += [f"consumer {each.name}" for each in consumers if (each.stream, each.name) not in there]
        present = (there[key] for each in consumers if (key := (each.stream, each.name)) in there)
        self.lags = {each.settings.name: each.backlog for each in present}
        return found

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        if not self._open:
            raise BusError("the connection was closed")
        stream = self.broker.stream_of(check_subject(subject))
        stored = stream.add(subject, payload, {**(headers or {}), ID_HEADER: id}, self.broker.clock())
        self.broker.wake()
        return stored

    async def tell(self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        if not self._open:
            raise BusError("the connection was closed")
        self.broker.told.append(Told(check_subject(subject), payload, headers or {}))
        for each in self.broker.listening:
            if covers(each.subject, subject):
                asyncio.get_running_loop().call_soon(each.take, Asked(subject, payload, headers or {}))

    async def listen(self, subject: str, take: Callable[[Asked], None], _missed: Callable[[], None]) -> MemoryListening:
        return MemoryListening(self.broker.listening, subject, take)

    async def consume(
        self,
        consumer: Consumer,
        handle: Callable[[Delivery], Awaitable[None]],
        dealing: Dealing | None = None,
        parking: Parking = unwatched,
    ) -> MemoryConsumption:
        shared = self.broker.consumers[consumer.stream, consumer.name]
        consumption = MemoryConsumption(self, shared, handle, dealing, parking)
        self.consumptions.add(consumption)
        return consumption

    async def ask(
        self, subject: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self.broker.ask(Asked(check_subject(subject), payload, headers or {}), timeout)

    async def serve(self, service: Service, handle: Callable[[Asked], Awaitable[Reply]]) -> MemoryService:
        serving = MemoryService(self, service, handle)
        self.consumptions.add(serving)
        return serving

    async def newest_id(self, stream: str, subject: str) -> str:
        messages = reversed(self.broker.streams[stream].messages.values())
        return next((each.headers[ID_HEADER] for each in messages if each.subject == subject), "")

    async def waiting(self, stream: str, subject: str, before: int) -> AsyncIterator[WaitingMessage]:
        for each in tuple(self.broker.streams[stream].messages.values()):
            if each.subject == subject and each.sequence < before:
                yield WaitingMessage(sequence=each.sequence, payload=each.payload, headers=each.headers)

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

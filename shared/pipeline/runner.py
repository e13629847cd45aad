"""A worker at work: it opens, handles messages, runs its sources and timers, and drains when told to stop.

Told to stop, it is not ready any more; sources and timers stop; nothing new is fetched; what is in hand is finished and
acknowledged within `drain_seconds`. What could not finish is redelivered to another copy.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, get_args

import msgspec

from shared.aio.backoff import backoff
from shared.aio.together import all_of
from shared.broker.batches import each_answered
from shared.broker.bus import Asked, Bus, BusError, Consumption, Dealing, Delivery, GivenUp, Parking, Reject, Reply
from shared.broker.claims import CLAIM_HEADER, asked, payload_of, reply_with
from shared.broker.store import Store
from shared.broker.table import View
from shared.model.request import HeadEntry
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS, HEADS
from shared.pipeline.measures import Handling, WorkInHand, answering
from shared.pipeline.messages import Message, decoder
from shared.pipeline.presence import Presence
from shared.pipeline.runtime import Runtime
from shared.pipeline.spans import outcome, parking, processing, result, sending, serving, taking
from shared.pipeline.worker import (
    Answerer,
    Emitted,
    Endpoint,
    Handler,
    Receiver,
    Source,
    Timer,
    Worker,
    messages_of,
)
from shared.process.measured import DEAD_LETTERS, MISSING
from shared.process.settings import Settings
from shared.process.tracing import Telemetry

log = logging.getLogger("moorage.runner")


class Running:
    """A worker at work, over one bus and one store."""

    def __init__(self, worker: Worker, runtime: Runtime, telemetry: Telemetry, presence: Presence) -> None:
        self.worker = worker
        self.presence = presence
        self.runtime = runtime
        self.telemetry = telemetry
        self.state = "starting"
        self._deps: Any = None
        self._heads: View[HeadEntry] | None = None
        self._consumptions: list[Consumption] = []
        self._own: list[asyncio.Task[None]] = []
        self._work = WorkInHand(runtime.clock)
        runtime.readings += self._work.readings(lambda: runtime.bus.lags)
        runtime.readings.append(MISSING.number(lambda: len(presence.missing)))

    def unready(self) -> str:
        """Why it does not take work, or an empty string."""
        if not self.runtime.bus.healthy():
            return f"{self.worker.name} has no connection to NATS"
        if self.presence.missing:
            return f"{self.worker.name} misses in NATS: {', '.join(self.presence.missing)}"
        if self.presence.silent:
            return f"{self.worker.name} is not told what is there: {self.presence.silent}"
        return "" if self.state == "running" else f"{self.worker.name} is {self.state}"

    async def start(self, deps: Any, tasks: asyncio.TaskGroup) -> None:
        """Begin to consume, and start sources and timers."""
        self._deps = deps
        if self.worker.drops_superseded:
            self._heads = await self.runtime.follow(HEADS)
        for handler in self.worker.handlers:
            at_once = self.runtime.settings.concurrency or handler.concurrency
            consumer = topology.consumer(self.worker, handler.consumes, at_once)
            step, dealing = self._step(handler), self._dealing(handler)
            self._consumptions.append(
                await self.runtime.bus.consume(consumer, step, dealing, self._parking(consumer.name))
            )
        for answerer in self.worker.answerers:
            service = topology.service(self.worker, answerer)
            self._consumptions.append(await self.runtime.bus.serve(service, self._answer(answerer)))
        for receiver in self.worker.receivers:
            wanted = topology.receiving(self.worker, receiver)
            take = self._take(receiver, wanted.name)
            self._consumptions.append(await self.runtime.bus.consume(wanted, take, parking=self._parking(wanted.name)))
        for endpoint in self.worker.endpoints:
            served = topology.serving(self.worker, endpoint)
            self._consumptions.append(await self.runtime.bus.serve(served, self._serve(endpoint)))
        self._own += [tasks.create_task(self._keep(source), name=source.name) for source in self.worker.sources]
        self._own += [tasks.create_task(self._tick(timer), name=timer.name) for timer in self.worker.timers]
        self.state = "running"

    async def drain(self) -> None:
        """Stop taking work and finish what is in hand, within `drain_seconds`."""
        self.state = "draining"
        for task in self._own:
            task.cancel()
        bound = self.runtime.settings.drain_seconds
        finished = await asyncio.gather(*(consumption.drain(bound) for consumption in self._consumptions))
        if not all(finished):
            log.warning("some work did not finish in time and is left to others", extra={"seconds": bound})
        await self.runtime.end()

    def _dealing(self, handler: Handler) -> Dealing | None:
        """Who of the copies handles a handler's messages; here is what cannot be told in passing."""
        copies, dealt_by, decode = self.runtime.copies, handler.dealt_by, decoder(handler.consumes).decode
        if copies is None or dealt_by is None:
            return None

        def owner(delivery: Delivery) -> str:
            if copies.alone or CLAIM_HEADER in delivery.headers:
                return copies.name
            try:
                return copies.owner(dealt_by(decode(delivery.payload)))
            except msgspec.DecodeError:  # it is refused when it is handled
                return copies.name

        return Dealing(copy=copies.name, owner=owner)

    def _step(self, handler: Handler) -> Callable[[Delivery], Awaitable[None]]:
        """Decode, drop what is superseded, handle, publish; the bus acknowledges when this returns."""
        decode = decoder(handler.consumes).decode
        name = f"process {handler.consumes.stage}"
        group = topology.consumer(self.worker, handler.consumes, 1).name

        async def step(delivery: Delivery) -> None:
            with self._work.handling(group, delivery) as handling:
                await measured(delivery, handling)

        async def measured(delivery: Delivery, handling: Handling) -> None:
            payload = await payload_of(self.runtime.bus, delivery)
            message = _decoded(decode, payload, handler.consumes)
            if message.subject() != delivery.subject:
                raise Reject(f"its content belongs to subject {message.subject()}")
            if message.question is not None:
                raise Reject("a question is not to be acted on")
            about, superseded = str(message.about), self._superseded(message) and not handler.keep_superseded
            known = processing(group, delivery, message) if self.telemetry.records(delivery.headers) else None
            with self.telemetry.span(
                name, headers=delivery.headers, about=about, kind="consumer", attributes=known
            ) as span:
                if superseded:
                    handling.superseded = True
                    span.tell({"moorage.outcome": "superseded"})
                    return
                self._work.begun(message, delivery)
                with outcome(span):
                    emitted = messages_of(await handler.call(message, self._deps))
                    await all_of(*(self.runtime.emit(each, span.headers) for each in emitted))
                self._work.handled(message, emitted, self._newest(message))
                if span.wanted:
                    span.tell(result(emitted))

        return step

    def _answer(self, answerer: Answerer) -> Callable[[Asked], Awaitable[Reply]]:
        """Decode, and answer with what is made of each; nothing is published, and no head supersedes it."""
        decode = decoder(answerer.about).decode
        encoded = msgspec.json.Encoder().encode
        name, group = f"{self.worker.name} {answerer.name}", topology.service(self.worker, answerer).group
        bus = self.runtime.bus

        async def answer(question: Asked) -> Reply:
            async def one(payload: bytes) -> bytes:
                message = _decoded(decode, payload, answerer.about)
                if message.question is None:
                    raise Reject("it is no question")
                with answering(name), serving(self.telemetry, name, question.headers, str(message.about)):
                    return encoded(await answerer.call(message, self._deps))

            payload = await asked(bus, question)
            return await reply_with(bus, await each_answered(payload, question.headers, one, group))

        return answer

    def _parking(self, consumer: str) -> Parking:
        """What goes around the parking of a message: it is counted, and a span."""
        for why in get_args(GivenUp):
            DEAD_LETTERS.add(consumer, why, by=0)  # that it grows can be seen of what was there before

        @contextmanager
        def around(delivery: Delivery, why: GivenUp, cause: str) -> Iterator[None]:
            with parking(self.telemetry, delivery, why, cause):
                yield
            DEAD_LETTERS.add(consumer, why)

        return around

    def _take(self, receiver: Receiver, group: str) -> Callable[[Delivery], Awaitable[None]]:
        """Hand over what came, as it is; the bus acknowledges when this returns."""
        name = f"{self.worker.name} {receiver.name}"

        async def take(delivery: Delivery) -> None:
            with self._work.handling(group, delivery), taking(self.telemetry, name, delivery):
                await receiver.call(delivery, self._deps)

        return take

    def _serve(self, endpoint: Endpoint) -> Callable[[Asked], Awaitable[Reply]]:
        name = f"{self.worker.name} {endpoint.name}"

        async def serve(question: Asked) -> Reply:
            with answering(name), serving(self.telemetry, name, question.headers):
                return await endpoint.call(question, self._deps)

        return serve

    def _superseded(self, message: Message) -> bool:
        """True if a newer head is known. This only saves work; compare-and-set keeps outdated writes out."""
        known = self._newest(message)
        return known is not None and message.at.older_than(known.head)

    def _newest(self, message: Message) -> HeadEntry | None:
        """The newest head that is known of a message's placement."""
        return self._heads.get(message.about.key) if self._heads is not None else None

    async def _announce(self, message: Message) -> None:
        """Publish a message of a source or timer."""
        newest = self._newest(message)
        with sending(self.telemetry, message, newest.requested_at if newest is not None else 0.0) as headers:
            await self.runtime.emit(message, headers)

    async def _keep(self, source: Source) -> None:
        """Run a source for ever; when it fails, log that and start it again, with growing pauses."""
        failures = 0
        while True:
            try:
                async with _closing(source.call(self._deps)) as found:
                    async for emitted in found:
                        await all_of(*(self._announce(each) for each in messages_of(emitted)))
                        failures = 0
            except BusError as error:
                failures += 1
                log.warning("source waits for the bus", extra={"source": source.name, "error": str(error)})
            except _FAILURES as error:
                _end_if_told(error)
                failures += 1
                log.exception("source failed", extra={"source": source.name})
            await asyncio.sleep(backoff(failures or 1))

    async def _tick(self, timer: Timer) -> None:
        while True:
            await asyncio.sleep(timer.every(self.runtime.settings))
            try:
                for message in messages_of(await timer.call(self._deps)):
                    await self._announce(message)
            except _FAILURES as error:
                _end_if_told(error)
                log.exception("timer failed, it runs again at its next turn", extra={"timer": timer.name})


def _decoded(decode: Callable[[bytes], Any], payload: bytes, kind: type[Message]) -> Message:
    """A message. Raises `Reject` for what is none of that kind."""
    try:
        message: Message = decode(payload)
    except msgspec.DecodeError as error:
        raise Reject(f"not a valid {kind.__name__}: {error}") from None
    return message


@asynccontextmanager
async def _closing(messages: AsyncGenerator[Emitted, None]) -> AsyncIterator[AsyncGenerator[Emitted, None]]:
    """Close a generator at the end, like `contextlib.aclosing`.

    One that is at a `yield` inside a task group does not end with the GeneratorExit that closes it, but with a group
    around that, which nobody expects. What else is in the group is raised.
    """
    try:
        yield messages
    finally:
        try:
            await messages.aclose()
        except* GeneratorExit:
            pass


_FAILURES = (Exception, asyncio.CancelledError, BaseExceptionGroup)
"""Exceptions after which a source or a timer is started again: also that something it waited for was cancelled, or a
group around the GeneratorExit of a generator that it closed."""


def _end_if_told(error: BaseException) -> None:
    """End this task if it was cancelled itself, whatever it made of that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Wait for some work to end, or until told to stop, which ends it; True when it ended by itself."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        stopping.cancel()


async def run(
    worker: Worker,
    settings: Settings,
    bus: Bus,
    store: Store,
    *,
    stop: asyncio.Event,
    telemetry: Telemetry,
    on_start: Callable[[Running], None] = lambda _running: None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run a worker until `stop` is set, then drain. Raises what makes it impossible to go on."""

    async def provision() -> None:
        streams = (*topology.streams(settings), *topology.received((worker,), settings.stream_replicas))
        await bus.provision(streams, topology.consumers(worker))
        await store.provision(BUCKETS)

    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        runtime = Runtime(settings, bus, store, tasks, buckets=topology.buckets(worker))
        presence = Presence(worker, bus, store, provision if settings.provision else None)
        running = Running(worker, runtime, telemetry, presence)
        on_start(running)
        try:
            if not await _unless_stopped(presence.wait(), stop):
                return
            runtime.background(presence.keep(runtime.views), "look whether all is there")
            if worker.copies is not None:
                await runtime.join(worker.copies)
            deps = await stack.enter_async_context(worker.open(runtime))
            await running.start(deps, tasks)
            on_ready()
            await stop.wait()
            log.info("stopping: finishing what is in hand")
        finally:
            await running.drain()

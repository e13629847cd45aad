"""A worker at work: it opens, handles messages, runs its sources and timers, and drains when told to stop.

Told to stop, it is not ready any more; sources and timers stop; nothing new is fetched; what is in hand is finished and
acknowledged within `drain_seconds`. What could not finish is redelivered to another copy.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import msgspec

from shared.aio.backoff import backoff
from shared.broker.bus import Bus, BusError, Consumption, Delivery, Reject
from shared.broker.claims import payload_of, send
from shared.broker.store import Bucket, Store
from shared.broker.table import Table, View
from shared.model.request import HeadEntry
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS, HEADS
from shared.pipeline.messages import Message, decoder, encode
from shared.pipeline.presence import Presence
from shared.pipeline.worker import DeclarationError, Handler, Source, Timer, Worker, messages_of
from shared.process import audit
from shared.process.main import StartError
from shared.process.metrics import Metric
from shared.process.settings import Settings
from shared.process.tracing import Telemetry

log = logging.getLogger("moorage.runner")

T = TypeVar("T")
SYNC_TIMEOUT = 60.0  # seconds until a bucket must have been read whole


class Runtime:
    """The surroundings of a worker when it opens: its settings, shared state, a clock, and background tasks.

    It gives access to the `buckets` that the worker declares and to no others (None: to any).
    """

    def __init__(
        self,
        settings: Any,
        bus: Bus,
        store: Store,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float] = time.time,
        *,
        buckets: Sequence[Bucket[Any]] | None = None,
    ) -> None:
        self.settings = settings
        self.bus = bus
        self.store = store
        self.clock = clock
        self._tasks = tasks
        self._buckets = buckets
        self.views: dict[str, View[Any]] = {}
        self.metrics: list[Metric] = [audit.METRIC]  # what is shown of this worker; it may add to them when it opens
        self._background: list[asyncio.Task[None]] = []

    def table(self, bucket: Bucket[T]) -> Table[T]:
        """Read and write access to a bucket; only its owner writes. Raises DeclarationError for one not declared."""
        if self._buckets is not None and bucket not in self._buckets:
            raise DeclarationError(f"bucket {bucket.name} is used and not declared: name it in `follows`")
        return Table(self.store, bucket)

    async def follow(self, bucket: Bucket[T]) -> View[T]:
        """A live copy of a bucket, complete when this returns; one per bucket and process."""
        if bucket.name not in self.views:
            view = self.views[bucket.name] = self.table(bucket).follow()
            self.background(view.run(), f"follow {bucket.name}")
        view = self.views[bucket.name]
        try:
            async with asyncio.timeout(SYNC_TIMEOUT):
                await view.synced.wait()
        except TimeoutError:
            raise StartError(f"bucket {bucket.name} could not be read within {SYNC_TIMEOUT:g} s") from None
        return view

    def background(self, work: Any, name: str) -> None:
        """Run a coroutine for as long as the worker runs; its failure ends the process."""
        self._background.append(self._tasks.create_task(work, name=name))

    async def end(self) -> None:
        """End all background work, before what it works with is closed."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


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

    def unready(self) -> str:
        """Why it does not take work, or an empty string."""
        if not self.runtime.bus.healthy():
            return f"{self.worker.name} has no connection to NATS"
        if self.presence.missing:
            return f"{self.worker.name} misses in NATS: {', '.join(self.presence.missing)}"
        return "" if self.state == "running" else f"{self.worker.name} is {self.state}"

    async def start(self, deps: Any, tasks: asyncio.TaskGroup) -> None:
        """Begin to consume, and start sources and timers."""
        self._deps = deps
        self._heads = await self.runtime.follow(HEADS)
        for handler in self.worker.handlers:
            consumer = topology.consumer(self.worker, handler.consumes, handler.concurrency)
            self._consumptions.append(await self.runtime.bus.consume(consumer, self._step(handler)))
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

    def _step(self, handler: Handler) -> Callable[[Delivery], Awaitable[None]]:
        """Decode, drop what is superseded, handle, publish; the bus acknowledges when this returns."""
        decode = decoder(handler.consumes).decode
        name = f"{self.worker.name} {handler.name}"

        async def step(delivery: Delivery) -> None:
            payload = await payload_of(self.runtime.bus, delivery)
            try:
                message: Message = decode(payload)
            except msgspec.DecodeError as error:
                raise Reject(f"not a valid {handler.consumes.__name__}: {error}") from None
            if message.subject() != delivery.subject:
                raise Reject(f"its content belongs to subject {message.subject()}")
            if self._superseded(message) and not handler.keep_superseded:
                return
            attributes: dict[str, str | int] = {
                "messaging.system": "nats",
                "messaging.destination.name": delivery.subject,
                "moorage.attempt": message.at.attempt,
                "moorage.delivery": delivery.attempt,
            }
            with self.telemetry.span(
                name, headers=delivery.headers, about=str(message.about), kind="consumer", attributes=attributes
            ) as headers:
                emitted = messages_of(await handler.call(message, self._deps))
                await asyncio.gather(*(self._publish(each, headers) for each in emitted))

        return step

    def _superseded(self, message: Message) -> bool:
        """True if a newer head is known. This only saves work; compare-and-set keeps outdated writes out."""
        known = self._heads.get(message.about.key) if self._heads is not None else None
        return known is not None and message.at.older_than(known.head)

    async def _publish(self, message: Message, headers: dict[str, str]) -> None:
        await send(self.runtime.bus, message.subject(), encode(message), id=message.id(), headers=headers)

    async def _announce(self, name: str, message: Message) -> None:
        """Publish a message of a source or timer; a new trace begins with it."""
        with self.telemetry.span(
            f"{self.worker.name} {name}", headers={}, about=str(message.about), kind="producer"
        ) as headers:
            await self._publish(message, headers)

    async def _keep(self, source: Source) -> None:
        """Run a source for ever; when it fails, log that and start it again, with growing pauses."""
        failures = 0
        while True:
            try:
                async with _closing(source.call(self._deps)) as messages:
                    async for message in messages:
                        await self._announce(source.name, message)
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
                    await self._announce(timer.name, message)
            except _FAILURES as error:
                _end_if_told(error)
                log.exception("timer failed, it runs again at its next turn", extra={"timer": timer.name})


@asynccontextmanager
async def _closing(messages: AsyncGenerator[Message, None]) -> AsyncIterator[AsyncGenerator[Message, None]]:
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
        streams = topology.streams(settings.stream_replicas, settings.pipeline_max_bytes)
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
            deps = await stack.enter_async_context(worker.open(runtime))
            await running.start(deps, tasks)
            on_ready()
            await stop.wait()
            log.info("stopping: finishing what is in hand")
        finally:
            await running.drain()

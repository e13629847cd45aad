"""The surroundings of a worker at work: what it is given when it opens."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from shared.aio.together import all_of
from shared.broker.bus import Bus
from shared.broker.claims import send
from shared.broker.store import Bucket, Store
from shared.broker.table import Table, View
from shared.broker.tunnel.caller import Tunnels
from shared.model.copy import Copy
from shared.pipeline import topology
from shared.pipeline.copies import Copies
from shared.pipeline.events import derive
from shared.pipeline.measures import sent
from shared.pipeline.messages import Message, encode
from shared.pipeline.teller import Teller
from shared.pipeline.worker import DeclarationError
from shared.process import audit
from shared.process.main import StartError
from shared.process.metrics import Reading
from shared.process.tracing import onward

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
        self._teller = Teller(bus)
        self._buckets = buckets
        self.tunnels = Tunnels(bus)
        """The ways to targets whose connections an agent carries; for workers that declare `tunnels`."""
        self.copies: Copies | None = None
        """Those of the worker, if it declares a bucket for them; they are there before it opens."""
        self.views: dict[str, View[Any]] = {}
        self.readings: list[Reading] = [audit.METRIC]
        """What is read of this worker, beside what it counts; it may add to them when it opens."""
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

    async def emit(self, message: Message, headers: Mapping[str, str] | None = None) -> None:
        """Publish a message, and the events that it states. Returns once NATS has all of them; raises `BusError`.

        The events are sent before the message: of a fact that others act on, they know. Without `headers` it is part of
        the trace that is under way.
        """
        headers = onward() if headers is None else headers
        events = (self._teller.tell(event, headers) for event in derive(message))
        await all_of(*events, *([self._send(message, headers)] if message.stage else []))

    async def recalls(self, message: Message) -> bool:
        """Whether this message is the last one stored on its subject: it was told, however long ago that was. Only of
        messages that the worker declares to recall. Raises `BusError`.
        """
        return await self.bus.newest_id(topology.PIPELINE_STREAM, message.subject()) == message.id()

    async def _send(self, message: Message, headers: Mapping[str, str]) -> None:
        await send(self.bus, message.subject(), encode(message), id=message.id(), headers=headers)
        sent(message)

    async def join(self, bucket: Bucket[Copy]) -> None:
        """Be one of the copies that say in a bucket that they are there."""
        self.copies = Copies(self.table(bucket), await self.follow(bucket), clock=self.clock)
        self.background(self.copies.run(), "tell the other copies of this one")

    def background(self, work: Any, name: str) -> None:
        """Run a coroutine for as long as the worker runs; its failure ends the process."""
        self._background.append(self._tasks.create_task(work, name=name))

    async def end(self) -> None:
        """End all background work, before what it works with is closed."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.tunnels.close()

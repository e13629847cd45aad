"""The presence of all that a worker needs in NATS: its streams, its consumers, the buckets that it reads.

NATS tells nobody that a stream was deleted or emptied. So a worker looks every few seconds. While something is missing
it is not ready and says what; it makes it again, if it may. Nor is it ready when NATS has not answered for a while:
behind a leaf node, or where most servers of a cluster are away, the connection is well, and nothing can be done.

Views notice by themselves that their bucket was made anew; one whose bucket lost entries is told to read it again. What
is gone from a bucket its owner writes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shared.broker.bus import Bus, BusError, Forbidden
from shared.broker.store import Bucket, Store
from shared.broker.table import View
from shared.pipeline import topology
from shared.pipeline.worker import Worker

log = logging.getLogger("moorage.runner")

WAIT = 2.0  # seconds between two looks of who cannot begin yet
LOOK_EVERY = 5.0
"""Seconds between two looks of who is at work: some ten requests each, of every copy."""
SILENT_AFTER = 10.0
"""Seconds without an answer: a cluster that chooses another leader is silent for some of them."""


class Presence:
    """Looks for what a worker needs; `missing` names what was not there at the last look, and `silent` says why nothing
    is known any more, if so.

    `provision` makes it again; None: that is for an administrator to do.
    """

    def __init__(self, worker: Worker, bus: Bus, store: Store, provision: Callable[[], Awaitable[None]] | None) -> None:
        self.missing: tuple[str, ...] = ()
        self.silent = ""
        self._answered_at = asyncio.get_running_loop().time()
        self._bus = bus
        self._store = store
        self._provision = provision
        self._streams = (*topology.streams(), *topology.received((worker,)))
        self._consumers = topology.consumers(worker)
        self._buckets = topology.buckets(worker)

    async def wait(self) -> None:
        """Make all that is needed, or wait until it is there."""
        if self._provision is not None:
            await self._provision()
        while not await self._look({}):  # noqa: ASYNC110 - NATS tells nobody that a stream was made
            await asyncio.sleep(WAIT)

    async def keep(self, views: Mapping[str, View[Any]]) -> None:
        """Look again and again, until cancelled; `views` are those of the worker, by the names of their buckets."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if await self._look(views) or not self.missing or self._provision is None:
                continue
            try:
                await self._provision()
            except Forbidden:
                raise
            except BusError as error:
                log.warning("what is missing in NATS cannot be made yet", extra={"error": str(error)})
            else:
                if await self._look(views):
                    log.warning("what was missing in NATS is made again, what was in it is being rebuilt")

    async def _look(self, views: Mapping[str, View[Any]]) -> bool:
        """True if all is there, as far as NATS says so. Raises `Forbidden` where permissions deny to look."""
        clock = asyncio.get_running_loop().time
        try:
            found = await self._all_there(views)
        except Forbidden:
            raise
        except BusError as error:
            log.warning("NATS does not say what is there", extra={"error": str(error)})
            if clock() - self._answered_at >= SILENT_AFTER:
                self.silent = str(error)
            return False
        self.silent, self._answered_at = "", clock()
        return found

    async def _all_there(self, views: Mapping[str, View[Any]]) -> bool:
        missing = await self._bus.missing(self._streams, self._consumers)
        missing += [f"bucket {bucket.name}" for bucket in self._buckets if await self._lost(bucket, views)]
        found = tuple(missing)
        if found and found != self.missing:
            log.error("missing in NATS: %s", ", ".join(found))
        self.missing = found
        return not found

    async def _lost(self, bucket: Bucket[Any], views: Mapping[str, View[Any]]) -> bool:
        view = views.get(bucket.name)
        held = 0 if view is None else len(view.entries) + len(view.unreadable)
        size = await self._store.raw(bucket).size()
        # It holds deletions too, so that it can never hold less than a view did, unless somebody took something out.
        if size is not None and view is not None and size < held:
            log.error("a bucket lost entries", extra={"bucket": bucket.name})
            view.reread()
        return size is None

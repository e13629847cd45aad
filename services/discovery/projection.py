"""Brings a bucket in line with what is wanted in it."""

import asyncio
import logging
from typing import Generic, TypeVar

from shared.bus import BusError, backoff
from shared.state import Conflict, Table, View

log = logging.getLogger("moorage.discovery")

T = TypeVar("T")

VIEW_TIMEOUT = 1.0  # seconds that our view may lag behind our own write before we go on


class Projection(Generic[T]):
    """Writes what differs, key by key: the newest wish only, compared first, tried until the broker has it."""

    def __init__(self, table: Table[T], view: View[T]) -> None:
        self.view = view
        self._table = table
        self._wanted: dict[str, T | None] = {}
        self._awake = asyncio.Event()

    def latest(self, key: str) -> T | None:
        """What `key` holds, or is about to hold."""
        return self._wanted[key] if key in self._wanted else self.view.get(key)

    def want(self, key: str, value: T | None) -> None:
        """From now on `key` is to hold `value`; None: it is not to be there."""
        self._wanted[key] = value
        self._awake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        failures = 0
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._wanted:
                key, value = next(iter(self._wanted.items()))
                try:
                    await self._write(key, value)
                except (BusError, OSError, TimeoutError) as error:
                    failures += 1
                    log.warning("bucket not written, trying again", extra={"key": key, "error": str(error)})
                    await asyncio.sleep(backoff(failures))
                    continue
                except ValueError as error:  # too large for the bucket: no later try helps
                    log.error("entry left out", extra={"key": key, "error": str(error)})  # noqa: TRY400 - no bug of ours
                failures = 0
                if self._wanted[key] is value:
                    del self._wanted[key]

    async def _write(self, key: str, value: T | None) -> None:
        """Write unless it is there already; returns once our view shows it, or after a second."""
        entry = self.view.entries.get(key)
        if (entry.value if entry else None) == value:
            return
        try:
            if value is None:
                revision = await self._table.delete(key, entry.revision if entry else None)
            else:
                revision = await self._table.update(key, value, entry.revision if entry else 0)
        except Conflict:  # another copy of the worker was faster; all copies want the same, the last one wins
            revision = await (self._table.delete(key) if value is None else self._table.put(key, value))
        await self.view.reached(revision, VIEW_TIMEOUT)

"""Brings a bucket in line with what is wanted in it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.aio.backoff import backoff
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.broker.table import Table, View

log = logging.getLogger("moorage.discovery")

T = TypeVar("T")

RACES = 10  # writes of one wish that others may be faster than, before it waits
VIEW_TIMEOUT = 1.0  # seconds that our view may lag behind our own write before we go on


class DesiredEntry(Generic[T]):
    """The value that a key is to hold, and how it is worked out again from what somebody else wrote meanwhile."""

    def __init__(self, value: T | None, again: Callable[[T | None], T | None] | None) -> None:
        self.value = value
        self._again = again

    def given(self, stored: T | None) -> T | None:
        """The wish where the key holds `stored`."""
        return self.value if self._again is None else self._again(stored)


class Projection(Generic[T]):
    """Writes what differs, key by key: the newest wish only, compared first, tried until the broker has it.

    Several copies of the worker write the same keys. Who comes second works its wish out again from what the first one
    wrote, as both may know something.
    """

    def __init__(self, table: Table[T], view: View[T]) -> None:
        self.view = view
        self._table = table
        self._wanted: dict[str, DesiredEntry[T]] = {}
        self._awake = asyncio.Event()

    def latest(self, key: str) -> T | None:
        """The value that `key` holds, or is about to hold."""
        return self._wanted[key].value if key in self._wanted else self.view.get(key)

    def want(self, key: str, value: T | None, again: Callable[[T | None], T | None] | None = None) -> None:
        """From now on `key` is to hold `value`; None: it is not to be there.

        `again` works it out from what is stored, where that is not what we saw; without it `value` holds in any case.
        """
        self._wanted[key] = DesiredEntry(value, again)
        self._awake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        failures = 0
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._wanted:
                key, wish = next(iter(self._wanted.items()))
                try:
                    await self._write(key, wish)
                except (BusError, OSError, TimeoutError) as error:
                    failures += 1
                    log.warning("bucket not written, trying again", extra={"key": key, "error": str(error)})
                    await asyncio.sleep(backoff(failures))
                    continue
                except ValueError as error:  # too large for the bucket, or not to be read again: no later try helps
                    log.error("entry left out", extra={"key": key, "error": str(error)})  # noqa: TRY400 - no bug of ours
                failures = 0
                if self._wanted[key] is wish:
                    del self._wanted[key]

    async def _write(self, key: str, wish: DesiredEntry[T]) -> None:
        """Write unless it is there already; returns once our view shows it, or after a second."""
        entry, value = self.view.entries.get(key), wish.value
        for _ in range(RACES):
            if (entry.value if entry else None) == value:
                revision = entry.revision if entry else 0
                break
            try:
                revision = await self._put(key, value, entry.revision if entry else 0)
                break
            except Conflict:
                entry = await self._table.get(key)
                value = wish.given(entry.value if entry else None)
        else:
            raise BusError(f"{key} keeps changing")
        await self.view.reached(revision, VIEW_TIMEOUT)

    async def _put(self, key: str, value: T | None, revision: int) -> int:
        if value is None:
            return await self._table.delete(key, revision)
        return await self._table.update(key, value, revision)

"""Typed tables over a store, and live copies of them in memory."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from shared.aio.lru import Lru
from shared.broker.store import Bucket, Conflict, Raw, Store
from shared.broker.tokens import split

T = TypeVar("T")

log = logging.getLogger("moorage.state")

REBUILDING = 30.0
"""Seconds that the owner of a bucket may take to write again what was lost."""

COMPLAINED = 1000
"""Unreadable entries of one bucket that are remembered, so that the log names each only once."""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A typed entry and its revision."""

    key: str
    value: T
    revision: int


class Changes(msgspec.Struct, Generic[T], frozen=True):
    """What was written to a table, and what was deleted."""

    written: list[Entry[T]]
    deleted: list[Raw]


class Table(Generic[T]):
    """A bucket with its type: the same operations, on values.

    An entry that is not of the type, or lies under a key of another shape than the bucket's, counts as absent, as a
    deleted one does: reading passes it over and says so in the log, once, and what is created takes its place. Only a
    compare-and-set of a whole group stays refused while there is one: who sums up a group is not to pass over a part.

    Writing raises ValueError for a value that would not be read again: all who follow the bucket would stumble over it.
    """

    def __init__(self, store: Store, bucket: Bucket[T]) -> None:
        self.bucket = bucket
        self._raw = store.raw(bucket)
        self._decoder = msgspec.json.Decoder(bucket.holds)
        self._complained: Lru[str, int] = Lru(COMPLAINED)

    def _entry(self, raw: Raw) -> Entry[T] | None:
        """None for what is deleted, and for what cannot be read."""
        if raw.value is None:
            return None
        try:
            return Entry(raw.key, self._decoded(raw.key, raw.value), raw.revision)
        except ValueError as error:
            if self._complained.get(raw.key) != raw.revision:
                self._complained.put(raw.key, raw.revision)
                log.error("entry counts as absent", extra={"error": str(error)})  # noqa: TRY400 - its trace says no more
            return None

    def _decoded(self, key: str, value: bytes) -> T:
        where = f"entry {key} of bucket {self.bucket.name} is not readable"
        try:
            tokens, decoded = len(split(key)), self._decoder.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(f"{where}: {error}") from error
        if self.bucket.tokens not in (0, tokens):
            raise ValueError(f"{where}: its key has {tokens} tokens, not {self.bucket.tokens}")
        return decoded

    def _encoded(self, key: str, value: T) -> bytes:
        """Checked by reading it: JSON has no infinity, for one, and `null` in its place is no number."""
        encoded = msgspec.json.encode(value)
        self._decoded(key, encoded)
        return encoded

    async def get(self, key: str) -> Entry[T] | None:
        raw = await self._raw.get(key)
        return None if raw is None else self._entry(raw)

    async def put(self, key: str, value: T) -> int:
        return await self._raw.put(key, self._encoded(key, value))

    async def update(self, key: str, value: T, revision: int, *, within: str | None = None) -> int:
        """Compare-and-set, see `RawBucket.update`; `revision` 0 creates, also in place of what cannot be read."""
        encoded = self._encoded(key, value)
        try:
            return await self._raw.update(key, encoded, revision, within=within)
        except Conflict:
            found = await self._raw.get(key) if revision == 0 and within is None else None
            if found is None or self._entry(found) is not None:
                raise
            return await self._raw.update(key, encoded, found.revision)

    async def change(
        self, key: str, change: Callable[[T | None], Awaitable[T | None]], *, tries: int
    ) -> tuple[Entry[T] | None, bool]:
        """Make a key hold what `change` makes of what it holds (None: it is absent, or is to be).

        Where somebody else writes in between, it is read again and `change` asked anew. What is equal is not written.
        Returns the entry as it is then, and whether it was written; raises Conflict after that many tries in vain.
        """
        for _ in range(tries):
            entry = await self.get(key)
            old = None if entry is None else entry.value
            new = await change(old)
            if new == old:
                return entry, False
            revision = 0 if entry is None else entry.revision
            try:
                if new is not None:
                    return Entry(key, new, await self.update(key, new, revision)), True
                await self.delete(key, revision)
            except Conflict:
                continue
            return None, True
        raise Conflict(f"entry {key} of bucket {self.bucket.name} keeps changing, {tries} tries to change it lost")

    async def delete(self, key: str, revision: int | None = None) -> int:
        return await self._raw.delete(key, revision)

    async def entries(self, prefix: str = "") -> list[Entry[T]]:
        return [entry for raw in await self._raw.entries(prefix) if (entry := self._entry(raw)) is not None]

    async def since(self, revision: int, prefix: str = "") -> "Changes[T]":
        """What changed below a prefix after a revision, see `RawBucket.since`."""
        found = await self._raw.since(revision, prefix)
        written = [entry for raw in found if (entry := self._entry(raw)) is not None]
        return Changes(written, [raw for raw in found if raw.value is None])

    async def newest(self) -> int:
        """The revision of the newest entry or remembered deletion, see `RawBucket.newest`."""
        return await self._raw.newest()

    async def unreadable(self) -> list[Raw]:
        """The entries that cannot be read, as they are stored."""
        return [raw for raw in await self._raw.entries() if self._entry(raw) is None]

    def follow(self) -> "View[T]":
        """A live copy in memory; run it, wait for `synced`."""
        return View(self)


class View(Generic[T]):
    """The content of a bucket in memory, kept current by watching. It may be some milliseconds behind the bucket.

    `moved`, `reached` and `changes` wait for news. An entry that cannot be read counts as absent; `unreadable` has its
    key, with the revision, until it is replaced or deleted.
    """

    def __init__(self, table: Table[T]) -> None:
        self._table = table
        self.entries: dict[str, Entry[T]] = {}
        self.unreadable: dict[str, int] = {}
        self.revision = 0
        self.changed = 0
        """How often anything changed here: what was worked out from all of it holds while this is the same."""
        self.synced = asyncio.Event()
        self._moved = asyncio.Condition()
        self._stale = asyncio.Event()
        self._lost_at = self._lost_until = 0.0
        self._dirty: list[tuple[set[str], asyncio.Event]] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._stale.clear()
            following, stale = asyncio.ensure_future(self._follow()), asyncio.ensure_future(self._stale.wait())
            try:
                await asyncio.wait((following, stale), return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    return following.result()
            finally:
                following.cancel()
                stale.cancel()
                await asyncio.gather(following, stale, return_exceptions=True)

    def reread(self) -> None:
        """Read the bucket anew: it lost what no watch tells of, as one does that is purged."""
        self._stale.set()

    async def _follow(self) -> None:
        gone = {*self.entries, *self.unreadable}  # unless it is read again
        async with contextlib.aclosing(self._table._raw.watch()) as news:  # noqa: SLF001 - View is Table's other half
            async for raw in news:
                if raw is not None:
                    gone.discard(raw.key)
                    self._take(raw)
                else:
                    while gone:
                        self._take(Raw(gone.pop(), None, 0))
                    self.synced.set()
                async with self._moved:
                    self._moved.notify_all()

    @property
    def incomplete(self) -> bool:
        """Whether entries were lost just now, which their owner is to write again."""
        return asyncio.get_running_loop().time() < self._lost_until

    def holds(self, revision: int) -> bool:
        """Whether it has seen a revision, and what there was at it is not lost and being rebuilt.

        For `REBUILDING` seconds after entries were lost, what refers to the time before is not to be judged by what is
        here: the owner of the bucket is writing it again.
        """
        return self.revision >= revision and not (self.incomplete and revision <= self._lost_at)

    def _take(self, raw: Raw) -> None:
        if raw.value is None and raw.revision <= self.revision and raw.key in self.entries:
            self._lost_at, self._lost_until = self.revision, asyncio.get_running_loop().time() + REBUILDING
        self.revision = max(self.revision, raw.revision)
        self.changed += 1
        entry = self._table._entry(raw)  # noqa: SLF001 - View is Table's other half
        self.unreadable.pop(raw.key, None)
        if entry is None and raw.value is not None:
            self.unreadable[raw.key] = raw.revision
        if entry is None:
            self.entries.pop(raw.key, None)
        else:
            self.entries[raw.key] = entry
        for keys, event in self._dirty:
            keys.add(raw.key)
            event.set()

    async def changes(self) -> AsyncIterator[set[str]]:
        """Keys that changed since the last turn, coalesced: first all present ones, then what moves, for ever."""
        keys, event = set(self.entries), asyncio.Event()
        subscription = (keys, event)
        self._dirty.append(subscription)
        try:
            await self.synced.wait()
            keys |= set(self.entries)
            while True:
                if keys:
                    turn = set(keys)
                    keys.clear()
                    event.clear()
                    yield turn
                await event.wait()
        finally:
            self._dirty.remove(subscription)

    def values(self) -> Iterator[T]:
        """All values as last seen."""
        return (entry.value for entry in self.entries.values())

    def get(self, key: str) -> T | None:
        """The value as last seen."""
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    async def fresh(self, key: str) -> Entry[T] | None:
        """The entry as the bucket has it now: for where being some milliseconds behind would be wrong."""
        return await self._table.get(key)

    async def read(self, prefix: str) -> list[Entry[T]]:
        """The entries below a prefix as the bucket has them now, see `fresh`."""
        return await self._table.entries(prefix)

    async def reached(self, revision: int, timeout: float) -> bool:
        """Wait until this view `holds` a revision; False when it does not within `timeout` seconds."""
        if self.holds(revision):
            return True
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.holds(revision))
        except TimeoutError:
            return False
        return True

    async def moved(self, after: int) -> int:
        """Wait until the view is synced and past revision `after`; returns the revision it is at."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.synced.is_set() and self.revision > after)
        return self.revision

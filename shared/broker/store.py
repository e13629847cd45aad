"""The port to shared state: small typed tables that one worker writes and others follow.

The table at the end says which bucket holds what and which worker owns it; a test checks that nobody else writes it.
All of it can be deleted: Kubernetes objects are the truth, and every owner rebuilds its buckets from them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from shared.model.model import (
    HeadEntry,
    PolicyCheck,
    PolicyEntry,
    Reservation,
    Target,
    TargetReport,
    Waiting,
    Workspace,
)

T = TypeVar("T")

log = logging.getLogger("moorage.state")


class Conflict(Exception):
    """A compare-and-set failed, because somebody else has written since. Read again and decide anew."""


class Raw(msgspec.Struct, frozen=True):
    """An entry as stored. `value` is None where the key was deleted."""

    key: str
    value: bytes | None
    revision: int


class RawBucket(Protocol):
    """One bucket of a key-value store. Revisions grow over the whole bucket and are never reused."""

    async def get(self, key: str) -> Raw | None:
        """The entry as it is now: in a cluster, as the leader has it and not a copy that may be behind."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write whatever is there; returns the new revision."""
        ...

    async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
        """Write if the last revision of `key` is still `revision` (0: there is none); else raise `Conflict`.

        With `within`, a prefix of whole tokens, the last revision of *any* key below that prefix is compared instead.
        A deleted key counts as absent, so what is compared with may come from `get` or from the newest of `entries`.
        """
        ...

    async def delete(self, key: str, revision: int | None = None) -> int: ...

    async def entries(self, prefix: str = "") -> list[Raw]:
        """All present entries below a prefix of whole tokens (all, when empty).

        In a cluster they may be some milliseconds old; a compare-and-set with their revisions finds that out.
        """
        ...

    def watch(self) -> AsyncIterator[Raw | None]:
        """All present entries, then None once, then every change as it happens (value None: deleted).

        Among the present entries there may be deletions that the bucket still remembers.

        Survives reconnects; a key that changed meanwhile is delivered again, at least in its last state.
        """
        ...


class Store(Protocol):
    """Where buckets live."""

    async def provision(self, buckets: "tuple[Bucket[Any], ...]") -> None:
        """Create or update the buckets; idempotent."""
        ...

    def raw(self, bucket: "Bucket[Any]") -> RawBucket: ...


class Bucket(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A named table: what it holds, who alone writes it."""

    name: str
    holds: type[T]
    owner: str
    description: str
    max_bytes: int = 1 << 30


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A typed entry and its revision."""

    key: str
    value: T
    revision: int


class Table(Generic[T]):
    """A bucket with its type: the same operations, on values.

    Reading raises ValueError for an entry that is not of the type, which an older or a newer version may have written.
    Writing raises it for a value that would not be read again: all who follow the bucket would stumble over it.
    """

    def __init__(self, store: Store, bucket: Bucket[T]) -> None:
        self.bucket = bucket
        self._raw = store.raw(bucket)
        self._decoder = msgspec.json.Decoder(bucket.holds)

    def _entry(self, raw: Raw) -> Entry[T] | None:
        return None if raw.value is None else Entry(raw.key, self._decoded(raw.key, raw.value), raw.revision)

    def _decoded(self, key: str, value: bytes) -> T:
        try:
            return self._decoder.decode(value)
        except msgspec.MsgspecError as error:
            raise ValueError(f"entry {key} of bucket {self.bucket.name} is not readable: {error}") from error

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
        """Compare-and-set, see `RawBucket.update`; `revision` 0 creates."""
        return await self._raw.update(key, self._encoded(key, value), revision, within=within)

    async def delete(self, key: str, revision: int | None = None) -> int:
        return await self._raw.delete(key, revision)

    async def entries(self, prefix: str = "") -> list[Entry[T]]:
        return [entry for raw in await self._raw.entries(prefix) if (entry := self._entry(raw)) is not None]

    def follow(self) -> "View[T]":
        """A live copy in memory; run it, wait for `synced`."""
        return View(self)


class View(Generic[T]):
    """The content of a bucket in memory, kept current by watching. It may be some milliseconds behind the bucket.

    `moved`, `reached` and `changes` wait for news. An entry that cannot be decoded is logged, and the view keeps the
    entry that it had before: one bad entry must not stop everybody who follows the bucket, and the old value is a
    better guess than none. The owner of the bucket notices when its next compare-and-set of that entry fails.
    """

    def __init__(self, table: Table[T]) -> None:
        self._table = table
        self.entries: dict[str, Entry[T]] = {}
        self.revision = 0
        self.synced = asyncio.Event()
        self._moved = asyncio.Condition()
        self._dirty: list[tuple[set[str], asyncio.Event]] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        async for raw in self._table._raw.watch():  # noqa: SLF001 - View is Table's other half
            if raw is None:
                self.synced.set()
            else:
                self._take(raw)
            async with self._moved:
                self._moved.notify_all()

    def _take(self, raw: Raw) -> None:
        self.revision = max(self.revision, raw.revision)
        try:
            entry = self._table._entry(raw)  # noqa: SLF001 - View is Table's other half
        except ValueError as error:
            log.error("entry left as it was", extra={"error": str(error)})  # noqa: TRY400 - its trace says no more
            return
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

    def get(self, key: str) -> T | None:
        """The value as last seen."""
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    async def fresh(self, key: str) -> Entry[T] | None:
        """The entry as the bucket has it now: for where being some milliseconds behind would be wrong."""
        return await self._table.get(key)

    async def reached(self, revision: int, timeout: float) -> bool:
        """Wait until this view has seen `revision`; False when it has not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.revision >= revision)
        except TimeoutError:
            return False
        return True

    async def moved(self, after: int) -> int:
        """Wait until the view is synced and past revision `after`; returns the revision it is at."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.synced.is_set() and self.revision > after)
        return self.revision


INVENTORY = Bucket(name="inventory", holds=Target, owner="discovery", description="What is known of each target")
WORKSPACES = Bucket(name="workspaces", holds=Workspace, owner="discovery", description="The workspaces of the tree")
POLICIES = Bucket(name="policies", holds=PolicyEntry, owner="controller", description="The PlacementPolicies in force")
CHECKS = Bucket(
    name="checks", holds=PolicyCheck, owner="policy", description="Whether each policy compiles, and what its rules did"
)
HEADS = Bucket(name="heads", holds=HeadEntry, owner="controller", description="The newest head of each placement")
WAITING = Bucket(name="waiting", holds=Waiting, owner="controller", description="Placements that could not be decided")
RESERVATIONS = Bucket(
    name="reservations",
    holds=Reservation,
    owner="decision",
    description="What placements take, key <target>.<placement>",
)
REPORTS = Bucket(
    name="reports", holds=TargetReport, owner="status", description="Phase and health per placement and target"
)

BUCKETS: tuple[Bucket[Any], ...] = (INVENTORY, WORKSPACES, POLICIES, CHECKS, HEADS, WAITING, RESERVATIONS, REPORTS)

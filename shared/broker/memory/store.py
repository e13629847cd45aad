"""State in the memory of one process: for tests, and for a pipeline that runs in one process."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from shared.broker.store import MOST_SINCE, Bucket, Conflict, Raw, RawBucket, Store
from shared.broker.subjects import below, check_key

LARGEST_VALUE = 1_000_000
"""Bytes; the broker-backed state has the same limit."""


class MemoryBucket(RawBucket):
    """One bucket. Deleted keys stay as tombstones, since compare-and-set looks at their revisions as well."""

    def __init__(self) -> None:
        self._last: dict[str, Raw] = {}
        self._revision = 0
        self._watchers: list[asyncio.Queue[Raw | None]] = []

    async def get(self, key: str) -> Raw | None:
        raw = self._last.get(check_key(key))
        return None if raw is None or raw.value is None else raw

    async def put(self, key: str, value: bytes) -> int:
        return self._write(key, value)

    async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
        check_key(key)
        if within is None:
            own = self._last.get(key)
            last = 0 if own is None or (own.value is None and revision == 0) else own.revision
        else:
            last = max((raw.revision for raw in self._last.values() if below(within, raw.key)), default=0)
        if revision != last:
            raise Conflict(f"{within or key} is at revision {last}, not {revision}")
        return self._write(key, value)

    async def delete(self, key: str, revision: int | None = None) -> int:
        last = self._last.get(check_key(key))
        if revision is not None and revision != (0 if last is None else last.revision):
            raise Conflict(f"{key} is not at revision {revision}")
        return self._write(key, None)

    async def entries(self, prefix: str = "") -> list[Raw]:
        return [raw for raw in self._in_order() if raw.value is not None and below(prefix, raw.key)]

    async def since(self, revision: int, prefix: str = "") -> list[Raw]:
        return [raw for raw in self._in_order() if raw.revision > revision and below(prefix, raw.key)][:MOST_SINCE]

    async def newest(self) -> int:
        return max((raw.revision for raw in self._last.values()), default=0)

    async def size(self) -> int | None:
        return len(self._last)

    async def watch(self) -> AsyncGenerator[Raw | None, None]:
        # Unbounded, as the writer shares this process and its memory; a slow watcher cannot hold it up.
        queue: asyncio.Queue[Raw | None] = asyncio.Queue()
        for raw in self._in_order():
            queue.put_nowait(raw)
        queue.put_nowait(None)
        self._watchers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(queue)

    def _in_order(self) -> list[Raw]:
        return sorted(self._last.values(), key=lambda raw: raw.revision)

    def _write(self, key: str, value: bytes | None) -> int:
        if value is not None and len(value) > LARGEST_VALUE:
            raise ValueError(f"value of {len(value)} bytes under {key}: a bucket holds at most {LARGEST_VALUE}")
        self._revision += 1
        raw = Raw(check_key(key), value, self._revision)
        self._last[key] = raw
        for watcher in self._watchers:
            watcher.put_nowait(raw)
        return raw.revision


class MemoryStore(Store):
    """Buckets by name; whoever holds the same store shares them."""

    def __init__(self) -> None:
        self._buckets: dict[str, MemoryBucket] = {}

    async def provision(self, buckets: tuple[Bucket[Any], ...]) -> None:
        for bucket in buckets:
            self.raw(bucket)

    def raw(self, bucket: Bucket[Any]) -> MemoryBucket:
        return self._buckets.setdefault(bucket.name, MemoryBucket())

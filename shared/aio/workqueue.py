"""A queue of keys to look at: each waits once, and none is worked on twice at a time."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys in the order in which they were first added; a key added while it is worked on comes again afterwards.

    It holds each key at most once, so it is bounded by the number of different keys.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, None] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Have a key looked at."""
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._some.set()

    async def get(self) -> K:
        """The next key; it must be given to `done` afterwards."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on a key ended, however it ended."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

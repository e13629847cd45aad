"""A queue of keys to look at: each waits once, and none is worked on twice at a time."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from shared.aio.turns import Turns

K = TypeVar("K", bound=Hashable)

ANY_NUMBER = 1 << 30


class WorkQueue(Generic[K]):
    """Keys that wait for one of `places` who work on them; a key added while it is worked on comes again afterwards.

    Owners of keys take turns (`Turns`); an owner's keys come in the order in which they were first added. It holds each
    key at most once, so it is bounded by the number of different keys.
    """

    def __init__(self, places: int = ANY_NUMBER, owner: Callable[[K], str] = lambda _key: "") -> None:
        self._owner = owner
        self._turns: Turns[K] = Turns(places)
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: K) -> bool:
        """Whether a key waits, or is worked on."""
        return key in self._waiting or key in self._working

    def add(self, key: K) -> None:
        """Have a key looked at."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._turns.add(self._owner(key), key)
            self._some.set()

    async def get(self) -> K:
        """The key whose turn it is; it must be given to `done` afterwards."""
        while (key := self._turns.next()) is None:
            self._some.clear()
            await self._some.wait()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on a key ended, however it ended."""
        self._working.discard(key)
        self._turns.done(self._owner(key))
        self._some.set()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

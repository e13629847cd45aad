"""The copies of a worker that are at work now, and which of them sees to what.

Each copy writes its name into a bucket again and again. Who did so in the last seconds is there; what has to be seen to
is dealt out among those by rendezvous hashing, so that each copy comes to the same result, and only what a copy had
passes to others when it goes. While copies come and go, two may see to the same for some seconds, or none: what they do
has to bear both.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from importlib.metadata import version
from secrets import token_hex

from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.model.copy import Copy

log = logging.getLogger("moorage.runner")

BEAT = 2.0
"""Seconds between two signs of life."""
GONE = 7.0
"""Seconds without a sign of life after which a copy counts as gone."""
_FORGOTTEN = 60.0  # seconds after which its entry is deleted


def owner(key: str, copies: Collection[str]) -> str:
    """Which of the copies sees to a key: the one that scores most with it."""
    return max(copies, key=lambda each: hashlib.blake2b(f"{each}\0{key}".encode(), digest_size=8).digest())


class Copies:
    """The copies of a worker, this one among them. `run` must be running.

    `clock` gives seconds since the epoch, `elapsed` seconds that nobody sets back.
    """

    def __init__(
        self,
        table: Table[Copy],
        view: View[Copy],
        *,
        clock: Callable[[], float],
        elapsed: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        self.name = name or token_hex(8)
        self._version = version("moorage")
        self._table = table
        self._view = view
        self._clock = clock
        self._elapsed = elapsed
        self._heard: dict[str, tuple[int, float]] = {}  # the revision of the last sign of life, and when it was new
        self._present: frozenset[str] = frozenset((self.name,))
        self._changed = asyncio.Event()
        self._look()

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return len(self._present) == 1

    def owner(self, key: str) -> str:
        """The name of the copy that sees to a key."""
        return self.name if self.alone else owner(key, self._present)

    def mine(self, key: str) -> bool:
        """Whether it is for this copy to see to a key."""
        return self.owner(key) == self.name

    async def changes(self) -> AsyncIterator[None]:
        """A turn each time when something passed from one copy to another; for one listener."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield

    async def run(self) -> None:
        """Give signs of life, and listen to the others', until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                async for _ in self._view.changes():
                    self._look()
        finally:
            try:
                async with asyncio.timeout(BEAT):
                    await self._table.delete(self.name)
            except (BusError, TimeoutError) as error:
                log.info("the others will notice by themselves that this copy is gone", extra={"error": str(error)})

    async def _beat(self) -> None:
        while True:
            try:
                await self._table.put(self.name, Copy(name=self.name, beat_at=self._clock(), version=self._version))
                await self._forget()
            except (BusError, Conflict) as error:
                log.warning("no sign of life could be given", extra={"error": str(error)})
            self._look()
            await asyncio.sleep(BEAT)

    async def _forget(self) -> None:
        """Delete the entries of those that are gone for long."""
        for key, (revision, at) in list(self._heard.items()):
            if self._elapsed() - at > _FORGOTTEN and key in self._view.entries:
                await self._table.delete(key, revision)

    def _look(self) -> None:
        """Work out who is there now."""
        now = self._elapsed()
        heard: dict[str, tuple[int, float]] = {}
        for key, entry in self._view.entries.items():
            before = self._heard.get(key)
            if before is not None and before[0] == entry.revision:
                heard[key] = before
            else:  # of one that is seen for the first time only its own clock says how long ago that was
                age = 0.0 if before is not None else max(0.0, self._clock() - entry.value.beat_at)
                heard[key] = (entry.revision, now - age)
        if self._view.incomplete:  # the bucket was lost, and they are still there
            heard = {**self._heard, **heard}
        self._heard = heard
        present = frozenset(key for key, (_, at) in heard.items() if now - at < GONE) | {self.name}
        if present != self._present:
            self._present = present
            self._changed.set()

"""Whether reservations are all there: an empty bucket is not an empty world.

A bucket can be emptied or made anew at any moment, and nobody who follows it needs to hear of that. So it holds a
marker, which is written last when reservations are rebuilt and goes when they go. Whoever reserves asks for it, before
and after what is decided is written: at the revision of before, nothing was lost in between.
"""

import asyncio

from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.pipeline.buckets import RESERVATIONS_COMPLETE

MARKER = RESERVATIONS_COMPLETE
"""An entry that says that reservations are complete. Its target has no workspace-like name."""


class Incomplete(Exception):
    """Reservations were lost, and are or were made anew: nothing that was reserved before counts."""


class Completeness:
    """The marker as it was last seen; `doubted` is set when it is missing, for whoever rebuilds."""

    def __init__(self, table: Table[Reservation]) -> None:
        self._table = table
        self.marker = 0
        self.doubted = asyncio.Event()

    async def look(self) -> int:
        """The marker's revision as the bucket has it now, 0 where it is missing."""
        found = await self._table.get(MARKER)
        self.marker = 0 if found is None else found.revision
        if found is None:
            self.doubted.set()
        return self.marker

    async def since(self) -> int:
        """A revision to compare with later, by `check`. Raises `Incomplete` where the marker is missing."""
        if not (self.marker or await self.look()):
            raise Incomplete("reservations are being rebuilt")
        return self.marker

    async def check(self, since: int) -> None:
        """Raises `Incomplete` unless the bucket has been complete ever since."""
        if await self.look() != since:
            raise Incomplete("reservations were lost meanwhile" if not self.marker else "reservations were rebuilt")

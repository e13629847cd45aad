"""A book of reservations under optimistic concurrency: a live picture of all entries, and the only way to write them.

Entries that share a prefix share a place: a target, or a quota. An entry is written only if nothing below the prefix
changed since its sum was read, so two writers never give the same room away: the one that comes second sees a
`Conflict`, reads what it missed, and finds what is left. Within a process nobody comes second, as writes to one
place wait for each other.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from services.decision.picture import Picture
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef

TRIES = 16

TURNS = 512
"""How many places may be written to at once; others wait, as those do that are for one place."""


class Superseded(Exception):
    """A newer head of this placement has spoken already."""


class Crowded(Exception):
    """So many write to one place that no turn was had; try again later."""


class NoRoom(Exception):
    """A place has too little left."""


class Written(msgspec.Struct, frozen=True):
    """One write of `reserve`: where, for whom, at which revision, and what it found there."""

    prefix: str
    placement: PlacementRef
    revision: int
    before: Reservation | None


class Book:
    """A live picture of all entries of a bucket, and the only writer of them."""

    def __init__(
        self, table: Table[Reservation], view: View[Reservation], clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._view = view
        self._clock = clock
        self._picture = Picture()
        self._turns = tuple(asyncio.Lock() for _ in range(TURNS))
        self.lost = 0
        """Races for a place that were lost to another process."""
        self.seen = 0
        """The revision of the bucket up to which everything is in the picture."""

    async def follow(self) -> None:
        """Keep the picture current, for ever."""
        async for keys in self._view.changes():
            for key in keys:
                entry = self._view.entries.get(key)
                if entry is not None:
                    self._picture.note(entry)
                elif key not in self._view.unreadable:  # what cannot be read keeps its place until it is made anew
                    self._picture.drop(key, self._view.revision)
            self.seen = max(self.seen, self._view.revision)

    async def catch_up(self, written: int = 0) -> None:
        """Learn of all that is in the bucket by now, wherever that is.

        What was `written` at some revision may be forgotten since: it is known too where nothing came after what is.
        """
        while True:  # until nothing is found: what `seen` comes to meanwhile need not be all
            found = await self._table.since(self.seen)
            self._picture.learn(found)
            revisions = [each.revision for each in found.written] + [each.revision for each in found.deleted]
            if not revisions:
                if self.seen < written and await self._table.newest() <= self.seen:
                    self.seen = max(self.seen, written)
                return
            self.seen = max(self.seen, *revisions)

    async def mend(self) -> None:
        """Delete entries that cannot be read: nothing could be written beside them."""
        if self._view.unreadable:
            for raw in await self._table.unreadable():
                with contextlib.suppress(Conflict):  # it was made anew
                    await self._table.delete(raw.key, raw.revision)

    def held_by(self, placement: PlacementRef) -> set[str]:
        """The key prefixes of the places in which a placement holds something."""
        return self._picture.held_by(placement)

    def held(self, placement: PlacementRef) -> dict[str, Reservation]:
        """What a placement holds, by the key prefix of the place."""
        entries = ((prefix, self._picture.own(prefix, placement)) for prefix in self.held_by(placement))
        return {prefix: entry.value for prefix, entry in entries if entry is not None}

    def holders(self) -> Iterable[tuple[str, Reservation]]:
        """Every reservation that holds its place, with the id of its target."""
        return self._picture.holders()

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:
        """Put back what was there before, wherever nobody has written since.

        It only ever gives back, so it cannot fail for want of room. Where the bucket was `lost` meanwhile, what is not
        rebuilt yet will be, and what was there before may have been there in this picture only.

        Returns the newest revision that this made, 0 where it made none.
        """
        newest = 0
        for each in written:
            if done := await self.change(each.prefix, each.placement, partial(self._undone, each, lost=lost)):
                newest = max(newest, done.revision)
        return newest

    def _undone(self, written: Written, own: Entry[Reservation] | None, *, lost: bool) -> Reservation | None:
        if own is None or own.revision != written.revision:
            return None
        before = written.before
        kept = before is not None and (before.epoch == 0 or not lost)
        return before if kept else self._released(written.placement, own.value.head)

    def _released(self, placement: PlacementRef, head: Head) -> Reservation:
        return Reservation(placement=placement, head=head, resources={}, released_at=self._clock())

    async def forget_released(self, before: float, most: int) -> int:
        """Delete what was released before a moment, in seconds since the epoch, `most` entries at once; how many.

        It must be so long ago that no message of an older head is under way: nothing would keep it from taking.
        """
        old = (entry for entry in self._picture.entries() if 0 < entry.value.released_at < before)
        forgotten = 0
        for entry in list(itertools.islice(old, most)):
            try:
                await self._table.delete(entry.key, entry.revision)
            except Conflict:  # it was taken again, or another copy was faster
                continue
            self._picture.drop(entry.key, entry.revision)
            forgotten += 1
        return forgotten

    async def end_holds(self, which: Callable[[Reservation], bool]) -> int:
        """Give back what is held, where `which` says so; how many entries that were. What was written since stays."""
        ended = 0
        for entry in self._picture.holds():
            if not which(entry.value):
                continue
            try:
                await self._table.delete(entry.key, entry.revision)
            except Conflict:  # another copy was faster, or it went with the bucket, of which nobody is told
                await self._look(entry)
                continue
            self._picture.drop(entry.key, entry.revision)
            ended += 1
        return ended

    async def change(
        self, prefix: str, placement: PlacementRef, change: Callable[[Entry[Reservation] | None], Reservation | None]
    ) -> Written | None:
        """Make what a placement holds in a place what `change` makes of it; None leaves it as it is.

        It is written only if nothing below the prefix has changed since the picture that `change` saw; else what it
        lacks is read, and `change` asked anew. The same where it finds no room: others may have left meanwhile.

        Returns what was written, if anything was. Raises `Crowded`, and what `change` raises.
        """
        key = f"{prefix}.{placement.key}"
        async with self._turns[hash(prefix) % TURNS]:
            for _ in range(TRIES):
                own = self._picture.own(prefix, placement)
                try:
                    value = change(own)
                except NoRoom:
                    if await self._learn(prefix):
                        continue
                    raise
                if value is None:
                    return None
                try:
                    revision = await self._table.update(key, value, self._picture.revision(prefix), within=prefix)
                except Conflict:
                    self.lost += 1
                    if not await self._learn(prefix):  # what it lacks is not remembered any more
                        await self._reread(prefix)
                else:
                    self._picture.note(Entry(key, value, revision))
                    return Written(prefix, placement, revision, None if own is None else own.value)
        raise Crowded(f"{prefix} is contended, {TRIES} attempts to write in it lost")

    async def _learn(self, prefix: str) -> bool:
        """Read what the picture lacks of a place; True when there was something, or came in the meantime."""
        before = self._picture.changes(prefix)
        self._picture.learn(await self._table.since(self._picture.revision(prefix), prefix))
        return self._picture.changes(prefix) != before

    async def _reread(self, prefix: str) -> None:
        """Read a place's entries anew, which tells also of what was lost without a trace."""
        for entry in self._picture.merge(prefix, await self._table.entries(prefix)):
            await self._look(entry)

    async def _look(self, entry: Entry[Reservation]) -> None:
        """Read an entry anew."""
        now = await self._table.get(entry.key)
        if now is None:
            self._picture.drop(entry.key, entry.revision)
        else:
            self._picture.note(now)

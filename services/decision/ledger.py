"""Who takes how much of which target: reservations under optimistic concurrency.

A reservation is one entry per target and placement, below the target's prefix. It is written only if nothing below that
prefix changed since its sum was read, so two writers never give the same capacity away: the one that comes second sees
a `Conflict`, reads what it missed, and finds what is left. Within a process nobody comes second, as writes to one
target wait for each other. A reservation that is released stays as an empty
entry for as long as messages live, since its head keeps older ones from taking anything.

What is to become smaller keeps its place until binding has applied that: until then, the larger one runs.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from services.decision.core import at_least
from services.decision.picture import Picture
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.model.decision import Reservation
from shared.model.quota import left
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.resources import Resources, fits, subtract
from shared.model.target import Target

TRIES = 16

TURNS = 512
"""How many targets may be written to at once; others wait, as those do that are for one target."""


class Superseded(Exception):
    """A newer head of this placement has spoken already."""


class Crowded(Exception):
    """So many write to one target that no turn was had; try again later."""


class _NoRoom(Exception):
    """A target has too little left."""


def key_of(target: str, placement: PlacementRef) -> str:
    """The key of one reservation."""
    return f"{TargetRef.parse(target).key}.{placement.key}"


class Written(msgspec.Struct, frozen=True):
    """One write of `reserve`: where, for whom, at which revision, and what it found there."""

    prefix: str
    placement: PlacementRef
    revision: int
    before: Reservation | None


class Ledger:
    """A live picture of all reservations, and the only writer of them."""

    def __init__(
        self, table: Table[Reservation], view: View[Reservation], clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._view = view
        self._clock = clock
        self._picture = Picture()
        self._turns = tuple(asyncio.Lock() for _ in range(TURNS))
        self.lost = 0
        """Races for a target that were lost to another process."""

    async def follow(self) -> None:
        """Keep the picture current, for ever."""
        async for keys in self._view.changes():
            for key in keys:
                entry = self._view.entries.get(key)
                if entry is not None:
                    self._picture.note(entry)
                elif key not in self._view.unreadable:  # what cannot be read keeps its place until it is made anew
                    self._picture.drop(key, self._view.revision)

    def reserved(self, target: str, *besides: PlacementRef) -> Resources:
        """The sum of what all other placements reserve in a target."""
        prefix = TargetRef.parse(target).key
        total = self._picture.total(prefix)
        for each in besides:
            if (own := self._picture.own(prefix, each)) is not None:
                total = subtract(total, own.value.resources)
        return total

    def _others(self, target: str, *besides: PlacementRef) -> Iterable[Reservation]:
        own = {key_of(target, each) for each in besides}
        entries = self._picture.below(TargetRef.parse(target).key)
        return (entry.value for key, entry in entries.items() if key not in own)

    def held_by(self, placement: PlacementRef) -> set[str]:
        """The key prefixes of the targets in which a placement holds something."""
        return self._picture.held_by(placement)

    def held(self, placement: PlacementRef) -> dict[str, Reservation]:
        """What a placement holds, by the key prefix of the target."""
        entries = ((prefix, self._picture.own(prefix, placement)) for prefix in self.held_by(placement))
        return {prefix: entry.value for prefix, entry in entries if entry is not None}

    def holders(self) -> Iterable[tuple[str, Reservation]]:
        """Every reservation that holds its place, with the id of its target."""
        return self._picture.holders()

    def own(self, target: Target, placement: PlacementRef) -> Resources:
        """What a placement reserves in a target."""
        own = self._picture.own(TargetRef.of(target).key, placement)
        return {} if own is None else own.value.resources

    async def reserve(self, target: Target, wanted: Reservation, hold: PlacementRef | None = None) -> Written | None:
        """Take capacity for a placement, in place of what it had there, and of what a `hold` has there for it.

        None when the target has too little left, or a quota of it, for what would be more than it had. To keep what it
        had needs no room, whatever became of capacity and quotas; but it had nothing where that was reserved before the
        bucket was lost, and not rebuilt. What it had more of than is wanted it keeps until `shrink`.

        It writes even where that changes nothing: what another delivery of the same attempt reserved is this one's from
        then on, and the other does not undo it.

        Raises `Superseded` when a newer head holds or released it, `Crowded` after too many lost races.
        """
        placement, wanted = wanted.placement, msgspec.structs.replace(wanted, reserved_at=self._clock())

        def take(own: Reservation | None) -> Reservation:
            if own is not None and wanted.head.older_than(own.head):
                raise Superseded
            if not self._fits(target, wanted, own, hold):
                raise _NoRoom
            return holding(own, wanted)

        try:
            return await self._change(
                TargetRef.of(target).key, placement, lambda own: take(None if own is None else own.value)
            )
        except _NoRoom:
            return None

    def has_room(self, target: Target, wanted: Reservation) -> bool:
        """Whether `reserve` would find enough left, by what is known here now."""
        own = self._picture.own(TargetRef.of(target).key, wanted.placement)
        return self._fits(target, wanted, None if own is None else own.value)

    def _fits(
        self, target: Target, wanted: Reservation, own: Reservation | None, hold: PlacementRef | None = None
    ) -> bool:
        had = own.resources if own is not None and _counts(own, wanted.epoch) else {}
        besides = (wanted.placement,) if hold is None else (wanted.placement, hold)
        more = _more(wanted.resources, had)
        return fits(more, self._free(target, *besides, beyond=more if wanted.over_commit else None))

    def _free(
        self, target: Target, placement: PlacementRef, *besides: PlacementRef, beyond: Resources | None = None
    ) -> Resources:
        """What a target has for a placement, within its quotas; one that is not ready has nothing to give.

        It has as much as `beyond`, whatever is taken there: an operator lets it be given more than it has.
        """
        if not target.ready:
            return {}
        free = subtract(subtract(target.allocatable, target.allocated), self.reserved(target.id, placement, *besides))
        free = {**free, **{name: max(free.get(name, 0.0), amount) for name, amount in (beyond or {}).items()}}
        others = list(self._others(target.id, placement, *besides)) if target.quotas else ()
        within = left(target.quotas, placement.workspace, others)
        return {name: min(amount, within.get(name, math.inf)) for name, amount in free.items()}

    async def holds(self, prefix: str, decided: Reservation) -> bool:
        """Whether what was decided has its place since then, or was rebuilt; or a newer head has it."""
        await self._reread(prefix)  # the bucket may have been emptied, which nobody tells
        entry = self._picture.own(prefix, decided.placement)
        if entry is None or entry.value.head.older_than(decided.head):
            return False
        own = entry.value
        return decided.head.older_than(own.head) or (not own.released_at and _counts(own, decided.epoch))

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> None:
        """Put back what was there before, wherever nobody has written since.

        It only ever gives back, so it cannot fail for want of room. Where the bucket was `lost` meanwhile, what is not
        rebuilt yet will be, and what was there before may have been there in this picture only.
        """
        for each in written:
            await self._change(each.prefix, each.placement, partial(self._undone, each, lost=lost))

    def _undone(self, written: Written, own: Entry[Reservation] | None, *, lost: bool) -> Reservation | None:
        if own is None or own.revision != written.revision:
            return None
        before = written.before
        kept = before is not None and (before.epoch == 0 or not lost)
        return before if kept else self._released(written.placement, own.value.head)

    async def shrink(self, prefix: str, placement: PlacementRef, applied: int) -> None:
        """Binding has applied what this attempt decided: give back what that takes less than what ran before.

        What was reserved by a newer attempt waits until that is applied.
        """

        def less(own: Entry[Reservation] | None) -> Reservation | None:
            if own is None or own.value.shrinks_to is None or own.value.head.attempt > applied:
                return None
            return msgspec.structs.replace(own.value, resources=own.value.shrinks_to, shrinks_to=None)

        await self._change(prefix, placement, less)

    async def cut(self, prefix: str, placement: PlacementRef, attempt: int, decided: Resources) -> None:
        """Of what was reserved for attempts that are over, keep what is decided: a worker may have died on the way.

        Over is any `attempt` up to the one that was decided or refused last.
        """

        def less(own: Entry[Reservation] | None) -> Reservation | None:
            if own is None or own.value.released_at or own.value.head.attempt > attempt:
                return None
            kept = {name: min(amount, decided.get(name, 0.0)) for name, amount in own.value.resources.items()}
            if fits(own.value.resources, kept):
                return None
            return msgspec.structs.replace(own.value, resources=kept, shrinks_to=None)

        await self._change(prefix, placement, less)

    async def release(self, prefix: str, placement: PlacementRef, head: Head) -> None:
        """Give back what a placement holds below a target's prefix, unless a newer head holds it."""

        def let_go(own: Entry[Reservation] | None) -> Reservation | None:
            held_by_newer = own is not None and head.older_than(own.value.head)
            released = own is not None and own.value.released_at and own.value.head == head
            return None if held_by_newer or released else self._released(placement, head)

        await self._change(prefix, placement, let_go)

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

    def holds_of(self, workspace: str) -> set[PlacementRef]:
        """The holds of a workspace, by the names under which they are held."""
        return {each.value.placement for each in self._picture.holds() if each.value.placement.workspace == workspace}

    async def end_holds(self, which: Callable[[Reservation], bool]) -> int:
        """Give back what is held, where `which` says so; how many entries that were. What was written since stays."""
        ended = 0
        for entry in self._picture.holds():
            if not which(entry.value):
                continue
            try:
                await self._table.delete(entry.key, entry.revision)
            except Conflict:  # another copy was faster
                continue
            self._picture.drop(entry.key, entry.revision)
            ended += 1
        return ended

    async def _change(
        self, prefix: str, placement: PlacementRef, change: Callable[[Entry[Reservation] | None], Reservation | None]
    ) -> Written | None:
        """Make what a placement holds below a target's prefix what `change` makes of it; None leaves it as it is.

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
                except _NoRoom:
                    if await self._catch_up(prefix):
                        continue
                    raise
                if value is None:
                    return None
                try:
                    revision = await self._table.update(key, value, self._picture.revision(prefix), within=prefix)
                except Conflict:
                    self.lost += 1
                    if not await self._catch_up(prefix):  # what it lacks is not remembered any more
                        await self._reread(prefix)
                else:
                    self._picture.note(Entry(key, value, revision))
                    return Written(prefix, placement, revision, None if own is None else own.value)
        raise Crowded(f"{prefix} is contended, {TRIES} attempts to write in it lost")

    async def _catch_up(self, prefix: str) -> bool:
        """Read what the picture lacks of a target; True when there was something, or came in the meantime."""
        before = self._picture.changes(prefix)
        self._picture.learn(await self._table.since(self._picture.revision(prefix), prefix))
        return self._picture.changes(prefix) != before

    async def _reread(self, prefix: str) -> None:
        """Read a target's entries anew, which tells also of what was lost without a trace."""
        for entry in self._picture.merge(prefix, await self._table.entries(prefix)):
            now = await self._table.get(entry.key)
            if now is None:
                self._picture.drop(entry.key, entry.revision)
            else:
                self._picture.note(now)


def _counts(own: Reservation, epoch: int) -> bool:
    """Whether a reservation was made when all others were there to be seen, and is not of a bucket that was lost."""
    return own.epoch in (0, epoch)


def holding(own: Reservation | None, wanted: Reservation) -> Reservation:
    """What is wanted, and until binding has applied that not less than what it had."""
    resources = at_least(wanted.resources, own.resources if own else {})
    if resources == wanted.resources:
        return wanted
    least = wanted.resources if wanted.shrinks_to is None else wanted.shrinks_to
    return msgspec.structs.replace(wanted, resources=resources, shrinks_to=least)


def _more(needed: Resources, held: Resources) -> Resources:
    """What is needed of the resources that `held` does not cover."""
    return {name: amount for name, amount in needed.items() if not fits({name: amount}, held)}

"""Who takes how much of which target: reservations under optimistic concurrency.

A reservation is one entry per target and placement, below the target's prefix, in a `Book`. One that is released stays
as an empty entry for as long as messages live, since its head keeps older ones from taking anything.

What is to become smaller keeps its place until binding has applied that: until then, the larger one runs.
"""

import math
from collections.abc import Iterable

import msgspec

from services.decision.book import Book, NoRoom, Superseded, Written
from services.decision.charges import Holdings
from services.decision.core import at_least
from shared.broker.table import Entry
from shared.model.decision import Reservation
from shared.model.quota import left
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.resources import Resources, fits, subtract
from shared.model.target import Target


def key_of(target: str, placement: PlacementRef) -> str:
    """The key of one reservation."""
    return f"{TargetRef.parse(target).key}.{placement.key}"


class Ledger(Book):
    """The reservations in all targets."""

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

    def own(self, target: Target, placement: PlacementRef) -> Resources:
        """What a placement reserves in a target."""
        own = self._picture.own(TargetRef.of(target).key, placement)
        return {} if own is None else own.value.resources

    def holdings(self, placement: PlacementRef, epoch: int) -> Holdings:
        """What a placement holds in targets, as far as is known here, in this epoch of the bucket."""
        held = {prefix: each.resources for prefix, each in self.held(placement).items()}
        newest = self._picture.newest(placement)
        return Holdings(targets=held, revision=self.seen, newest=newest, epoch=epoch)

    async def reserve(self, target: Target, wanted: Reservation, *besides: PlacementRef) -> Written | None:
        """Take capacity for a placement, in place of what it had there, and of what those have `besides` which give way
        to it: holds that are for it, or placements that have to leave.

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
            if not self._fits(target, wanted, own, *besides):
                raise NoRoom
            return holding(own, wanted)

        try:
            return await self.change(
                TargetRef.of(target).key, placement, lambda own: take(None if own is None else own.value)
            )
        except NoRoom:
            return None

    def has_room(self, target: Target, wanted: Reservation) -> bool:
        """Whether `reserve` would find enough left, by what is known here now."""
        own = self._picture.own(TargetRef.of(target).key, wanted.placement)
        return self._fits(target, wanted, None if own is None else own.value)

    def _fits(self, target: Target, wanted: Reservation, own: Reservation | None, *besides: PlacementRef) -> bool:
        had = own.resources if own is not None and _counts(own, wanted.epoch) else {}
        more = _more(wanted.resources, had)
        beyond = more if wanted.over_commit else None
        return fits(more, self._free(target, wanted.placement, *besides, beyond=beyond))

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

    def shrinks(self, prefix: str, placement: PlacementRef) -> bool:
        """Whether a placement is to have less there than it had, as far as is known here."""
        own = self._picture.own(prefix, placement)
        return own is not None and own.value.shrinks_to is not None

    async def shrink(
        self, prefix: str, placement: PlacementRef, applied: int, decided: Resources | None = None
    ) -> Written | None:
        """Binding has applied what is decided there for this attempt: give back what ran before and is more than that.

        What was reserved by a newer attempt waits until that is applied. An attempt that reserved less may never have
        been decided: where it, or one after it, was refused, what was `decided` before is what is applied. Returns what
        was written, if anything was.
        """

        def less(own: Entry[Reservation] | None) -> Reservation | None:
            if own is None or own.value.shrinks_to is None or own.value.head.attempt > applied:
                return None
            kept = at_least(own.value.shrinks_to, decided or {})
            return msgspec.structs.replace(own.value, resources=kept, shrinks_to=None)

        return await self.change(prefix, placement, less)

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

        await self.change(prefix, placement, less)

    async def spare(self, prefix: str, placement: PlacementRef) -> None:
        """Let a placement stay that was to leave for another one, until it is decided anew."""

        def spared(own: Entry[Reservation] | None) -> Reservation | None:
            if own is None or own.value.released_at or own.value.rank is None:
                return None
            return msgspec.structs.replace(own.value, rank=None)

        await self.change(prefix, placement, spared)

    def holding(self, prefix: str, placement: PlacementRef) -> Reservation | None:
        """What a placement holds below a target's prefix, as far as is known here; None where it holds nothing."""
        own = self._picture.own(prefix, placement)
        return own.value if own is not None and not own.value.released_at else None

    def nominations(self) -> list[tuple[str, Reservation]]:
        """What is held for placements that others have to leave for, with the prefix of the target."""
        return [(TargetRef.owning(each.key).key, each.value) for each in self._picture.holds() if each.value.victims]

    async def stored(self, prefix: str, placement: PlacementRef) -> Reservation | None:
        """The same as `holding`, read from the bucket now."""
        entry = await self._table.get(f"{prefix}.{placement.key}")
        return entry.value if entry is not None and not entry.value.released_at else None

    async def release(self, prefix: str, placement: PlacementRef, head: Head) -> Written | None:
        """Give back what a placement holds below a target's prefix, unless a newer head holds it. As `shrink`."""

        def let_go(own: Entry[Reservation] | None) -> Reservation | None:
            held_by_newer = own is not None and head.older_than(own.value.head)
            released = own is not None and own.value.released_at and own.value.head == head
            return None if held_by_newer or released else self._released(placement, head)

        return await self.change(prefix, placement, let_go)

    def holds_of(self, workspace: str) -> set[PlacementRef]:
        """The holds of a workspace, by the names under which they are held; not nominations, which nobody asked for."""
        names = {each.value.placement for each in self._picture.holds()}
        return {each for each in names if each.workspace == workspace and not each.is_nomination}


def _counts(own: Reservation, epoch: int) -> bool:
    """Whether a reservation was made when all others were there to be seen, and is not of a bucket that was lost."""
    return own.epoch in (0, epoch)


def holding(own: Reservation | None, wanted: Reservation) -> Reservation:
    """What is wanted, and until binding has applied that not less than what it had. Whom the same attempt asked to
    leave already has to, though whoever comes second may not know them yet."""
    if own is not None and own.victims and own.head == wanted.head:
        wanted = msgspec.structs.replace(wanted, victims=tuple(sorted({*own.victims, *wanted.victims})))
    resources = at_least(wanted.resources, own.resources if own else {})
    if resources == wanted.resources:
        return wanted
    least = wanted.resources if wanted.shrinks_to is None else wanted.shrinks_to
    return msgspec.structs.replace(wanted, resources=resources, shrinks_to=least)


def _more(needed: Resources, held: Resources) -> Resources:
    """What is needed of the resources that `held` does not cover."""
    return {name: amount for name, amount in needed.items() if not fits({name: amount}, held)}

"""Who takes how much of which target: reservations under optimistic concurrency.

A reservation is one entry per target and placement, below the target's prefix. It is written only if nothing below that
prefix changed since its sum was read, so two writers never give the same capacity away: the one that comes second sees
a `Conflict`, reads the target's entries again, and finds what is left. A reservation that is released stays as an empty
entry for as long as messages live, since its head keeps older ones from taking anything.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.broker.tokens import split
from shared.model.decision import Reservation
from shared.model.quota import left
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.resources import Resources, add, fits, subtract
from shared.model.target import Target

TRIES = 16


class Superseded(Exception):
    """A newer head of this placement has spoken already."""


class Crowded(Exception):
    """So many write to one target that no turn was had; try again later."""


class _NoRoom(Exception):
    """A target has too little left."""


def key_of(target: str, placement: PlacementRef) -> str:
    """The key of one reservation."""
    return f"{TargetRef.parse(target).key}.{placement.key}"


class Ledger:
    """A live picture of all reservations, and the only writer of them."""

    def __init__(
        self, table: Table[Reservation], view: View[Reservation], clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._view = view
        self._clock = clock
        self._targets: dict[str, dict[str, Entry[Reservation]]] = {}
        self._placements: dict[str, set[str]] = {}

    async def follow(self) -> None:
        """Keep the picture current, for ever."""
        async for keys in self._view.changes():
            for key in keys:
                entry = self._view.entries.get(key)
                if entry is not None:
                    self._note(entry)
                else:
                    self._drop(key)

    def _drop(self, key: str) -> None:
        """An entry is deleted. Only what was released ever is: one that holds its place was written since."""
        prefix, _ = _parts(key)
        known = self._targets.get(prefix, {})
        if key in known and known[key].value.released_at:
            del known[key]

    def _note(self, entry: Entry[Reservation]) -> None:
        prefix, suffix = _parts(entry.key)
        known = self._targets.setdefault(prefix, {})
        if entry.key in known and known[entry.key].revision > entry.revision:
            return
        known[entry.key] = entry
        self._hold(prefix, suffix, holds=not entry.value.released_at)

    def _hold(self, prefix: str, suffix: str, *, holds: bool) -> None:
        """Note whether a placement holds something in a target."""
        placed = self._placements.setdefault(suffix, set())
        (placed.add if holds else placed.discard)(prefix)
        if not placed:
            del self._placements[suffix]

    def taken(self, target: str, besides: PlacementRef) -> Resources:
        """What all other placements take in a target."""
        return add(*(each.resources for each in self._others(target, besides)))

    def _others(self, target: str, besides: PlacementRef) -> list[Reservation]:
        own = key_of(target, besides)
        entries = self._targets.get(TargetRef.parse(target).key, {})
        return [entry.value for key, entry in entries.items() if key != own]

    def held_by(self, placement: PlacementRef) -> set[str]:
        """The key prefixes of the targets in which a placement holds something."""
        return set(self._placements.get(placement.key, ()))

    def held(self, placement: PlacementRef) -> dict[str, Reservation]:
        """What a placement holds, by the key prefix of the target."""
        suffix = placement.key
        return {prefix: self._targets[prefix][f"{prefix}.{suffix}"].value for prefix in self.held_by(placement)}

    def holders(self) -> Iterable[tuple[str, Reservation]]:
        """Every reservation that holds its place, with the id of its target."""
        for prefix, entries in self._targets.items():
            target = "/".join(split(prefix))
            yield from ((target, entry.value) for entry in entries.values() if not entry.value.released_at)

    async def reserve(
        self,
        target: Target,
        placement: PlacementRef,
        head: Head,
        needed: Resources,
        labels: Mapping[str, str] = MappingProxyType({}),
        *,
        orphan: bool = False,
    ) -> bool:
        """Take capacity for a placement with these labels, in place of what it had there.

        False when the target has too little left, or a quota of it, for what would be more than it had. To keep what it
        had needs no room, whatever became of capacity and quotas.

        Raises `Superseded` when a newer head holds or released it, `Crowded` after too many lost races.
        """
        wanted = Reservation(placement=placement, head=head, resources=needed, labels=dict(labels), orphan=orphan)

        def take(own: Reservation | None) -> Reservation | None:
            if own is not None and head.older_than(own.head):
                raise Superseded
            if own == wanted:
                return None
            if not fits(_more(needed, own.resources if own else {}), self._free(target, placement)):
                raise _NoRoom
            return wanted

        try:
            await self._change(TargetRef.of(target).key, placement, take)
        except _NoRoom:
            return False
        return True

    def _free(self, target: Target, placement: PlacementRef) -> Resources:
        """What a target has for a placement, within its quotas; one that is not ready has nothing to give."""
        if not target.ready:
            return {}
        free = subtract(subtract(target.allocatable, target.allocated), self.taken(target.id, besides=placement))
        within = left(target.quotas, placement.workspace, self._others(target.id, placement))
        return {name: min(amount, within.get(name, math.inf)) for name, amount in free.items()}

    async def release(self, prefix: str, placement: PlacementRef, head: Head) -> None:
        """Give back what a placement holds below a target's prefix, unless a newer head holds it."""
        empty = Reservation(placement=placement, head=head, resources={}, released_at=self._clock())

        def let_go(own: Reservation | None) -> Reservation | None:
            held_by_newer = own is not None and head.older_than(own.head)
            released = own is not None and own.released_at and own.head == head
            return None if held_by_newer or released else empty

        await self._change(prefix, placement, let_go)

    async def forget_released(self, before: float, most: int) -> int:
        """Delete what was released before a moment, in seconds since the epoch, `most` entries at once; how many.

        It must be so long ago that no message of an older head is under way: nothing would keep it from taking.
        """
        old = (
            entry
            for entries in self._targets.values()
            for entry in entries.values()
            if 0 < entry.value.released_at < before
        )
        forgotten = 0
        for entry in list(itertools.islice(old, most)):
            try:
                await self._table.delete(entry.key, entry.revision)
            except Conflict:  # it was taken again, or another copy was faster
                continue
            self._drop(entry.key)
            forgotten += 1
        return forgotten

    async def restore(self, before: Mapping[str, Reservation], placement: PlacementRef, head: Head) -> None:
        """Undo what was reserved since `before` was taken by `held`: give back what is new and by how much it grew.

        It only ever gives back, so it cannot fail for want of room.
        """
        for prefix in self.held_by(placement) - before.keys():
            await self.release(prefix, placement, head)
        for prefix, old in before.items():
            own = self._own(prefix, placement)
            if own is not None and own.head == head and own.resources != old.resources:
                await self._put_back(prefix, placement, old)

    async def _put_back(self, prefix: str, placement: PlacementRef, old: Reservation) -> None:
        await self._change(prefix, placement, lambda _: old)

    async def _change(
        self, prefix: str, placement: PlacementRef, change: Callable[[Reservation | None], Reservation | None]
    ) -> None:
        """Make what a placement holds below a target's prefix what `change` makes of it; None leaves it as it is.

        It is written only if nothing below the prefix has changed since the picture that `change` saw; else the picture
        is read again, and `change` asked anew. The same where it finds no room: others may have left meanwhile.
        """
        key = f"{prefix}.{placement.key}"
        for _ in range(TRIES):
            try:
                value = change(self._own(prefix, placement))
            except _NoRoom:
                if await self._reread(prefix):
                    continue
                raise
            if value is None:
                return
            try:
                revision = await self._table.update(key, value, self._revision(prefix), within=prefix)
            except Conflict:
                await self._reread(prefix)
            else:
                self._note(Entry(key, value, revision))
                return
        raise Crowded(f"{prefix} is contended, {TRIES} attempts to write in it lost")

    def _own(self, prefix: str, placement: PlacementRef) -> Reservation | None:
        """The entry of a placement below a target's prefix, as the picture has it."""
        entry = self._targets.get(prefix, {}).get(f"{prefix}.{placement.key}")
        return None if entry is None else entry.value

    def _revision(self, prefix: str) -> int:
        """The last revision of anything below the prefix."""
        return max((entry.revision for entry in self._targets.get(prefix, {}).values()), default=0)

    async def _reread(self, prefix: str) -> bool:
        """Read a target's entries anew; True when that told something new."""
        before = self._revision(prefix)
        entries = await self._table.entries(prefix)
        for key in self._targets.pop(prefix, {}).keys() - {entry.key for entry in entries}:
            self._hold(prefix, _parts(key)[1], holds=False)
        self._targets[prefix] = {}
        for entry in entries:
            self._note(entry)
        return self._revision(prefix) != before


def _more(needed: Resources, held: Resources) -> Resources:
    """What is needed of the resources that `held` does not cover."""
    return {name: amount for name, amount in needed.items() if not fits({name: amount}, held)}


def _parts(key: str) -> tuple[str, str]:
    """A reservation's key as the target's prefix and the placement's suffix."""
    tokens = key.split(".")
    return ".".join(tokens[:2]), ".".join(tokens[2:])

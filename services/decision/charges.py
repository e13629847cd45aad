"""What placements take of quotas over all targets: charges, in a book of their own. Each quota is a place.

A placement is charged before anything is reserved for it in a target, and what it does not need any more is given back
after the targets have it back. So what it holds in targets is charged at every moment, whoever dies when. What is
charged to one quota is settled as what is reserved in one target is: no two placements, targets or copies take together
more than there is.
"""

from collections.abc import Iterable, Mapping
from functools import partial

import msgspec

from services.decision.book import Book, Crowded, NoRoom, Superseded, Written
from services.decision.core import at_least
from shared.broker.store import Conflict
from shared.broker.table import Entry
from shared.hub.quotas import NOBODY
from shared.model.decision import Reservation
from shared.model.quota import PLACEMENTS, Shortage, WorkspaceQuota, digest_of, growth, shortage
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources, add, fits, subtract


class Exceeded(NoRoom):
    """A quota leaves too little."""

    def __init__(self, short: Shortage) -> None:
        super().__init__(str(short))
        self.short = short


class Uncounted(NoRoom):
    """What is used of a quota is not known yet."""


class Behind(Exception):
    """Less is known here of what a placement holds in targets than whoever gave back last went by: a `revision`."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"what was reserved at revision {revision} is not known here")
        self.revision = revision


class QuotaDemand(msgspec.Struct, frozen=True, kw_only=True):
    """What a placement wants, by target; in whose name, until when where that is a hold, and in place of which ones."""

    placement: PlacementRef
    head: Head
    targets: Mapping[str, Resources]
    until: float = 0.0
    holds: tuple[PlacementRef, ...] = ()


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What a placement holds in targets, in this epoch of the bucket of reservations.

    All is known of it up to `revision`, and nothing after `newest`: what was written here is known before news of it,
    and what others wrote since then is no matter.
    """

    targets: Mapping[str, Resources]
    revision: int
    newest: int
    epoch: int

    @property
    def total(self) -> Resources:
        """All of it, as quotas count."""
        return add(*self.targets.values(), {PLACEMENTS: 1.0}) if self.targets else {}


class Charges(Book):
    """What is charged to each quota."""

    def used(self, quota: WorkspaceQuota) -> Resources:
        """What is charged to a quota."""
        return self._picture.total(quota.place)

    def counted(self, quota: WorkspaceQuota) -> bool:
        """Whether all that is used of a quota is charged, as far as is known here."""
        return self._picture.own(quota.place, NOBODY) is not None

    def of(self, quota: WorkspaceQuota) -> list[Reservation]:
        """What is charged to a quota, by placement."""
        return [entry.value for entry in self._picture.below(quota.place).values() if entry.value.placement != NOBODY]

    def charged(self, quota: WorkspaceQuota, placement: PlacementRef) -> Resources:
        """What a placement is charged with."""
        own = self._picture.own(quota.place, placement)
        return {} if own is None else own.value.resources

    async def charge(self, quota: WorkspaceQuota, wanted: QuotaDemand, held: Holdings) -> Written | None:
        """Charge a placement with what it wants more than it `held`, on top of what it is charged with.

        What the same head was charged with for the same is enough; it is written again, so that whoever did so before
        does not undo it. What is not known to be given back in targets counts.

        Raises `Exceeded`, `Superseded`, `Uncounted`, `Behind`, and `Crowded`.
        """

        def take(own: Reservation | None) -> Reservation:
            if own is not None and wanted.head.older_than(own.head):
                raise Superseded
            charged, covers = self._charged(quota, wanted, held, own)
            return Reservation(
                placement=wanted.placement,
                head=wanted.head,
                resources=charged,
                until=wanted.until,
                epoch=held.epoch,
                covers=covers,
                as_of=own.as_of if own is not None and own.epoch == held.epoch else 0,
            )

        return await self.change(quota.place, wanted.placement, lambda own: take(None if own is None else own.value))

    def ask(self, quota: WorkspaceQuota, wanted: QuotaDemand, held: Holdings) -> None:
        """Raises what `charge` would raise by what is known here now, and writes nothing."""
        own = self._picture.own(quota.place, wanted.placement)
        self._charged(quota, wanted, held, None if own is None else own.value)

    def _charged(
        self, quota: WorkspaceQuota, wanted: QuotaDemand, held: Holdings, own: Reservation | None
    ) -> tuple[Resources, str]:
        """What is charged then, and a digest of what for."""
        if not self.counted(quota):
            raise Uncounted(f"what is used of the quota {quota} is being counted")
        covers = digest_of(wanted.targets)
        had = own.resources if own is not None else {}
        if own is not None and own.head == wanted.head and own.covers == covers:
            return had, covers
        if own is not None and own.epoch == held.epoch and own.as_of > held.revision:
            raise Behind(own.as_of)
        more = growth(wanted.targets, held.targets)
        if wanted.targets and not had.get(PLACEMENTS) and not (wanted.until and held.targets):
            more = {**more, PLACEMENTS: 1.0}
        used = self._picture.total(quota.place)
        for hold in wanted.holds:
            if (taken := self._picture.own(quota.place, hold)) is not None:
                used = subtract(used, taken.value.resources)
        if short := shortage(quota, used, more):
            raise Exceeded(short)
        return add(had, more), covers

    async def take_back(self, written: Iterable[Written], revision: int, epoch: int) -> None:
        """Undo what was charged, after targets had their part back at a `revision` of the reservations, or before any
        was taken (0). Whoever charges next has to know of that."""

        def before(done: Written, own: Entry[Reservation] | None) -> Reservation | None:
            if own is None or own.revision != done.revision:
                return None
            found = done.before if done.before is not None else self._released(done.placement, own.value.head)
            known = found.as_of if found.epoch == epoch else 0
            return msgspec.structs.replace(found, as_of=max(known, revision), epoch=epoch)

        for each in written:
            await self.change(each.prefix, each.placement, partial(before, each))

    async def ensure(self, written: Iterable[Written]) -> None:
        """Raises `Crowded` unless what was charged is charged still: the bucket may have been lost meanwhile."""
        for each in written:
            found = await self._table.get(f"{each.prefix}.{each.placement.key}")
            if found is None or found.revision != each.revision:
                raise Crowded(f"what {each.placement} is charged with changed meanwhile")

    async def give_back(self, place: str, placement: PlacementRef, newest: Head, held: Holdings) -> Written | None:
        """Charge a placement with what it `held` alone, unless a head newer than `newest` is charged: of that one
        something may be about to be reserved. Returns what was written, if anything was."""

        def less(own: Reservation | None) -> Reservation | None:
            if own is None or own.released_at or own.until or newest.older_than(own.head):
                return None
            if fits(own.resources, held.total):
                return None
            kept = {name: min(amount, held.total.get(name, 0.0)) for name, amount in own.resources.items()}
            left = {name: amount for name, amount in kept.items() if amount > 0}
            return msgspec.structs.replace(
                own,
                resources=left,
                covers="",
                as_of=_as_of(own, held),
                epoch=held.epoch,
                released_at=0.0 if left else self._clock(),
            )

        return await self.change(place, placement, lambda own: less(None if own is None else own.value))

    async def count(
        self, place: str, placement: PlacementRef, head: Head, held: Holdings, *, anew: bool = False
    ) -> Written | None:
        """Charge a placement with no less than what it `held`, whatever the quota says: it runs already.

        Where it is counted `anew`, what is enough is written again, so that whoever is about to `forget` it does not.
        """

        def more(own: Reservation | None) -> Reservation | None:
            if fits(held.total, own.resources if own is not None else {}) and not (anew and own is not None):
                return None
            return Reservation(
                placement=placement,
                head=own.head if own is not None and head.older_than(own.head) else head,
                resources=at_least(held.total, own.resources if own is not None else {}),
                epoch=held.epoch,
                as_of=_as_of(own, held),
            )

        return await self.change(place, placement, lambda own: more(None if own is None else own.value))

    async def mark_counted(self, quota: WorkspaceQuota) -> None:
        """Note that all that is used of a quota is charged."""
        marker = Reservation(placement=NOBODY, head=Head(uid="", generation=0, attempt=0), resources={})
        await self.change(quota.place, NOBODY, lambda own: marker if own is None else None)

    def places(self) -> set[str]:
        """The prefixes of all quotas to which anything is charged."""
        return {".".join(entry.key.split(".")[:2]) for entry in self._picture.entries()}

    async def forget(self, place: str) -> None:
        """Delete all that is charged to a quota that is gone; first that it is counted. Raises `Conflict` where
        somebody wrote meanwhile: to them it is not gone."""
        entries = sorted(self._picture.below(place).values(), key=lambda each: each.value.placement != NOBODY)
        for entry in entries:
            try:
                await self._table.delete(entry.key, entry.revision)
            except Conflict:
                await self._reread(place)
                raise
            self._picture.drop(entry.key, entry.revision)


def _as_of(own: Reservation | None, held: Holdings) -> int:
    """What whoever charges next has to know where what is `held` is put in place of what was charged."""
    known = own.as_of if own is not None and own.epoch == held.epoch else 0
    return max(known, held.newest)

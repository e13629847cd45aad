"""Reports on each placement in each target: the bucket REPORTS, read and written by compare-and-set."""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

from msgspec.structs import replace

from services.status.health import APPLIED
from shared.aio.lru import Lru
from shared.api import Ending, Health
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.messages import Bound, Observed, Reported
from shared.process.tracing import TRACEPARENT, onward, trace_id

_RACES = 20
_WRITTEN = 10_000  # own writes that are remembered until the view has them, which takes some milliseconds


def news(entry: Entry[TargetReport], also: str) -> Reported:
    """What is new of a target beside its report."""
    report = entry.value
    return reported(report.placement, report.head, report.target, f"{entry.revision}{also}")


def passes(report: TargetReport) -> bool:
    """Whether what a report says is on its way to be something else, so that nobody needs to hear of it at once."""
    return report.phase in APPLIED and any(each.health in ("Unknown", "Progressing") for each in report.objects)


def reported(ref: PlacementRef, head: Head, target: str, what: str) -> Reported:
    """Something about a placement in one target."""
    where = hashlib.sha256(target.encode()).hexdigest()[:8]
    return Reported(placement=ref, head=head, fact=f"{where}-{what}")


def observed(entry: Entry[TargetReport]) -> Observed:
    """Sentences of a report on the objects in its target, for whom may have to act on it."""
    report = entry.value
    return Observed(
        placement=report.placement,
        head=report.head,
        target=report.target,
        objects=report.objects,
        missing=tuple(each.ref for each in report.objects if each.message == GONE),
        revision=entry.revision,
        answers=report.version,
        block=report.block,
        traceparent=report.traceparent,
    )


class Reports:
    """The bucket, in terms of what happens to it: as the `view` has it, and as it was written here since.

    So nothing need be read to be written: who wrote in between is found out by compare-and-set.
    """

    def __init__(self, table: Table[TargetReport], view: View[TargetReport]) -> None:
        self._table = table
        self._view = view
        self._written: Lru[str, Entry[TargetReport]] = Lru(_WRITTEN)
        self._deleted: Lru[str, int] = Lru(_WRITTEN)  # the last revision that is no more
        self._keys: dict[str, set[str]] = {}  # of the reports on each placement, by its key
        self._sources: dict[str, frozenset[str]] = {}  # by key of the report: of what it says how that is in a target
        self._about: dict[str, set[str]] = {}  # the keys of the reports on an object of the workspace, by its uid

    def get(self, key: str) -> Entry[TargetReport] | None:
        """A report as it is known here."""
        seen, written = self._view.entries.get(key), self._written.get(key)
        if written is not None:
            if self._view.revision < written.revision:
                return written
            self._written.pop(key)
        deleted = self._deleted.get(key)
        if deleted is not None:
            if seen is not None and seen.revision <= deleted:
                return None
            self._deleted.pop(key)
        return seen

    def knows(self, ref: PlacementRef, target: str, revision: int) -> bool:
        """Whether what is known here of a placement in a target is as new as a revision."""
        entry = self.get(ref.key_in(target))
        return self._view.holds(revision) or (entry is not None and entry.revision >= revision)

    def note(self, key: str) -> None:
        """The view has news of a key."""
        placement, entry = key.rpartition(".")[0], self.get(key)
        self._note_sources(key, entry.value.objects if entry is not None else ())
        if entry is not None:
            self._keys.setdefault(placement, set()).add(key)
        elif (keys := self._keys.get(placement)) is not None:
            keys.discard(key)
            if not keys:
                del self._keys[placement]

    def _note_sources(self, key: str, objects: Iterable[ObjectHealth]) -> None:
        before = self._sources.pop(key, frozenset())
        now = frozenset(each.source for each in objects if each.source and (each.status is not None or each.ended))
        if now:
            self._sources[key] = now
        for uid in before - now:
            self._about[uid].discard(key)
            if not self._about[uid]:
                del self._about[uid]
        for uid in now - before:
            self._about.setdefault(uid, set()).add(key)

    def about(self, uid: str) -> list[TargetReport]:
        """All reports, of whatever placement, that say how an object of the workspace is in a target."""
        return [entry.value for key in sorted(self._about.get(uid, ())) if (entry := self.get(key)) is not None]

    def known(self, ref: PlacementRef) -> list[TargetReport]:
        """All reports on a placement, as they are known here."""
        return [entry.value for key in sorted(self._keys.get(ref.key, ())) if (entry := self.get(key)) is not None]

    async def of(self, ref: PlacementRef) -> list[TargetReport]:
        """All reports on a placement, as the bucket has them now."""
        return [entry.value for entry in await self._table.entries(ref.key)]

    async def observe(
        self, ref: PlacementRef, target: str, look: Callable[[ObjectHealth], ObjectHealth], now: float, silent: str = ""
    ) -> tuple[Entry[TargetReport] | None, bool]:
        """Bring the health of the reported objects up to date; the entry, and whether it changed. None: no report.

        `silent`: why nothing is heard of the target, empty where something is.
        """

        async def looked_at(report: TargetReport | None) -> TargetReport | None:
            if report is None:
                return None
            objects = tuple(look(each) for each in report.objects)
            new = replace(report, silent=silent)
            return new if objects == report.objects else replace(new, objects=objects, observed_at=now)

        return await self.change(ref, target, looked_at, tries=_RACES)

    async def change(
        self,
        ref: PlacementRef,
        target: str,
        change: Callable[[TargetReport | None], Awaitable[TargetReport | None]],
        *,
        tries: int,
    ) -> tuple[Entry[TargetReport] | None, bool]:
        """Make the report on one target what `change` makes of it; see `Table.change`.

        It is read only where what is known here is not what is there, or is to stay as it is.
        """
        key = ref.key_in(target)
        known = self.get(key)
        old, revision = (None, 0) if known is None else (known.value, known.revision)
        new = await change(old)
        if new is not None and new != old:
            with contextlib.suppress(Conflict):
                return self._wrote(Entry(key, new, await self._table.update(key, new, revision))), True
        entry, changed = await self._table.change(key, change, tries=tries)
        if entry is not None:
            self._wrote(entry)
        elif changed:
            self._written.pop(key)
            self._deleted.put(key, revision)
            self.note(key)
        return entry, changed

    def _wrote(self, entry: Entry[TargetReport]) -> Entry[TargetReport]:
        self._written.put(entry.key, entry)
        self._deleted.pop(entry.key)
        self.note(entry.key)
        return entry

    async def forget(self, ref: PlacementRef) -> None:
        """Forget a placement that is gone."""
        for entry in await self._table.entries(ref.key):
            await self._table.delete(entry.key)


NOT_SEEN = "not seen in the target yet"
GONE = "it is gone from the target"
_GONE: dict[Ending, tuple[Health, str]] = {
    "": ("Unhealthy", GONE),
    "Succeeded": ("Healthy", "it ran to its end, and is gone"),
    "Failed": ("Unhealthy", "it failed, and is gone"),
    "Unseen": ("Unknown", "it is gone, as it may be after its end, which was not seen"),
}


def merged(bound: Iterable[ObjectHealth], known: Iterable[ObjectHealth]) -> tuple[ObjectHealth, ...]:
    """The objects that a PlacementBinding lists, with the health that is known of the same objects."""
    before = {each.ref: each for each in known}
    return tuple(_as_known(each, before.get(each.ref)) for each in bound)


def _as_known(bound: ObjectHealth, known: ObjectHealth | None) -> ObjectHealth:
    if known is None or (bound.uid and known.uid and bound.uid != known.uid):
        return replace(bound, health="Unknown", message=NOT_SEEN)
    return replace(
        known,
        uid=known.uid or bound.uid,
        ended=known.ended or bound.ended,
        expires=known.expires or bound.expires,
        generation=bound.generation,
        source=bound.source,
        source_generation=bound.source_generation,
    )


def traced(known: TargetReport | None) -> str:
    """The `traceparent` of the trace by which it is bound: of the same trace, the one that is known, so that what comes
    again changes nothing."""
    now, before = onward().get(TRACEPARENT, ""), known.traceparent if known is not None else ""
    return before if trace_id(before) == trace_id(now) else now


def gone(known: ObjectHealth, ended: Ending) -> ObjectHealth:
    """How an object is that is not in the target any more. One that ran to its end is missed by nobody, and what it
    said of itself last stands."""
    if not ended and known.expires:
        ended = "Unseen"
    health, message = _GONE[ended]
    stands = known.status if ended in ("Succeeded", "Failed") else None
    new = replace(known, health=health, message=message, ended=ended, replicas=None, ready=None, owned_fields="")
    return replace(new, status=stands)


def believable(message: Bound, known: TargetReport | None, newest: Head | None) -> Literal["yes", "no", "ask"]:
    """Whether a message says what is true now: "no" where it is older than the report that is `known`, "ask" where the
    PlacementBinding itself has to say so. `newest` is the newest head of the placement.

    Versions are those of one API server, which counts up, unless it was restored from a backup: the next attempt has it
    asked then. Where there is no report, one may just have been removed with its binding; only of the newest attempt
    that cannot be.
    """
    if message.vanished:
        return "yes"
    if known is None:
        return "yes" if message.version and message.head == newest else "ask"
    if not (message.version.isdecimal() and known.version.isdecimal()):
        return "ask"
    if int(message.version) >= int(known.version):
        return "yes"
    return "ask" if known.head.older_than(message.head) else "no"


def parse_ref(ref: str) -> tuple[str, str, str, str]:
    """API version, kind, namespace and name of an object that a report names."""
    api_version, kind, name = ref.split(" ", 2)
    namespace, _, name = name.partition("/")
    return api_version, kind, namespace, name


def kind_of(ref: str) -> tuple[str, str]:
    """API version and kind of an object that a report names."""
    return parse_ref(ref)[:2]

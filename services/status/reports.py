"""Reports on each placement in each target: the bucket REPORTS, read and written by compare-and-set."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

from msgspec.structs import replace

from shared.broker.table import Entry, Table
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.messages import Bound, Observed, Reported

_RACES = 20


def news(entry: Entry[TargetReport], also: str = "") -> Reported:
    """That a report changed, or what else changed about its target.

    The revision makes the fact unique: what comes back after a change is news again.
    """
    report = entry.value
    return reported(report.placement, report.head, report.target, f"{entry.revision}{also}")


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
    )


class Reports:
    """The bucket, in terms of what happens to it."""

    def __init__(self, table: Table[TargetReport]) -> None:
        self._table = table

    async def of(self, ref: PlacementRef) -> list[TargetReport]:
        """All reports on a placement, as they are now."""
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
        """Make the report on one target what `change` makes of it; see `Table.change`."""
        return await self._table.change(ref.key_in(target), change, tries=tries)

    async def forget(self, ref: PlacementRef) -> None:
        """Forget a placement that is gone."""
        for entry in await self._table.entries(ref.key):
            await self._table.delete(entry.key)


NOT_SEEN = "not seen in the target yet"
GONE = "it is gone from the target"


def merged(refs: Iterable[str], known: Iterable[ObjectHealth]) -> tuple[ObjectHealth, ...]:
    """The objects that a PlacementBinding lists, with the health that is known of them."""
    before = {each.ref: each for each in known}
    return tuple(before.get(ref) or ObjectHealth(ref=ref, health="Unknown", message=NOT_SEEN) for ref in refs)


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

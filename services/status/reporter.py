"""The reporter takes news: it keeps the reports, and has the display show them."""

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable

from services.status.display import Display
from services.status.health import APPLIED
from services.status.kubernetes import StatusRecords
from services.status.observe import GroupKind, TargetObserver
from services.status.reports import NOT_SEEN, Reports, believable, merged, news, observed, parse_ref, reported
from services.status.settings import StatusSettings
from shared.api import PlacementBinding, get_condition
from shared.broker.bus import BusError, Retry
from shared.broker.store import Conflict
from shared.broker.table import View
from shared.hub.retry import SOON
from shared.hub.targets import TargetClients
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.report import TargetReport
from shared.model.request import HeadEntry
from shared.model.target import Target
from shared.pipeline.copies import Copies, Strangers
from shared.pipeline.messages import Bound, Decided, Observed, Reported

log = logging.getLogger("moorage.status")

_RACES = 10
_MEND_AGAIN = 1.0  # seconds

PlacementTarget = tuple[PlacementRef, str]


class Reporter:
    """Everything that the handlers work with. `run` follows the reports and the inventory, and must be running."""

    def __init__(
        self,
        settings: StatusSettings,
        *,
        records: StatusRecords,
        reports: Reports,
        heads: View[HeadEntry],
        view: View[TargetReport],
        inventory: View[Target],
        clients: TargetClients,
        copies: Copies,
        clock: Callable[[], float],
    ) -> None:
        """Of targets, those are watched that are for this one of the `copies` to watch."""
        self._settings = settings
        self._records = records
        self._reports = reports
        self._heads = heads
        self._display = Display(
            settings, records=records, reports=reports, heads=heads, silent=self._silent_for, clock=clock
        )
        self._view = view
        self._inventory = inventory
        self._copies = copies
        self._clock = clock
        self._observer = TargetObserver(clients, self._target, changed=self._changed, synced=self._synced)
        self._by_target: dict[str, dict[str, TargetReport]] = {}
        self._strangers = Strangers()
        self._watched: set[str] = set()  # targets
        self._target_of: dict[str, str] = {}  # by key in REPORTS
        self._silent: dict[str, str] = {}  # why, by target; only those that are
        self._news: dict[PlacementTarget, str] = {}
        self._announced: set[str] = set()  # keys of reports that were told of since this process began
        self._awake = asyncio.Event()
        self._lost: dict[str, TargetReport] = {}  # reports that went with their bucket, or became unreadable
        self._some_lost = asyncio.Event()

    # --- messages ---------------------------------------------------------------------------------------------------

    async def decided(self, message: Decided) -> None:
        """Show what was decided, or why nothing could be."""
        self._leave(message)
        await self._display.refresh(message.placement, message.head, message)

    async def reported(self, message: Reported) -> None:
        """Show what is new of a placement."""
        self._leave(message)
        await self._display.refresh(message.placement, message.head)

    async def bound(self, message: Bound) -> list[Reported | Observed]:
        """Bring the report on one target up to date, and the Placement's status; answer how the objects are there."""
        ref, target = message.placement, message.target
        newest = self._heads.get(ref.key)

        async def as_bound(known: TargetReport | None) -> TargetReport | None:
            match believable(message, known, newest.head if newest is not None and not newest.deleted else None):
                case "yes":
                    return self._told(message, known)
                case "no":
                    return known
                case "ask":
                    binding = await self._records.binding(ref, target)
                    return None if binding is None else self._read(message, binding, known)

        try:
            entry, _ = await self._reports.change(ref, target, as_bound, tries=_RACES)
        except Conflict as error:
            raise Retry(SOON, str(error)) from None
        if entry is None:  # what is removed from several targets shows at once, if the Placement is still there
            return [] if message.vanished else [reported(ref, message.head, target, f"removed-{message.version}")]
        self._announced.add(entry.key)
        if not self._copies.mine(ref.key):
            return [news(entry), observed(entry)]
        try:
            await self._display.refresh(ref, message.head)
        except (Retry, KubeError):  # the binding is not to wait for that
            return [news(entry), observed(entry)]
        return [observed(entry)]

    def _leave(self, message: Decided | Reported) -> None:
        """Raise Retry where another copy shows the placement, and remembers how: the message may come to that one."""
        if not self._copies.mine(message.placement.key):
            self._strangers.leave(message)

    def _told(self, message: Bound, known: TargetReport | None) -> TargetReport | None:
        """The report on a target, as a message has it; None where nothing is there any more."""
        if message.phase == "Removed":
            return None
        refs = [each.ref for each in message.objects]
        return self._report(message, message.phase, message.message, refs, message.version, known)

    def _read(self, about: Bound | TargetReport, binding: PlacementBinding, known: TargetReport | None) -> TargetReport:
        """The report on a target, as its PlacementBinding has it."""
        status = binding.status
        applied = get_condition(status.conditions, "Applied")
        said, refs = applied.message if applied else "", [str(each.ref) for each in status.objects]
        return self._report(about, status.phase, said, refs, binding.metadata.resource_version, known)

    def _report(
        self,
        about: Bound | TargetReport,
        phase: str,
        said: str,
        refs: list[str],
        version: str,
        known: TargetReport | None,
    ) -> TargetReport:
        objects = merged(refs, known.objects if known else ())
        return TargetReport(
            placement=about.placement,
            head=_newer(about.head, known.head if known else None),
            target=about.target,
            # Ready and Degraded are made of what was observed here: the report has that by object.
            phase="Applied" if phase in APPLIED else phase,
            message=said,
            objects=tuple(self._observer.look(about.target, each) for each in objects),
            observed_at=known.observed_at if known else self._clock(),
            version=version,
            silent=known.silent if known else "",
        )

    # --- observations -----------------------------------------------------------------------------------------------

    async def observations(self) -> AsyncGenerator[Reported | Observed, None]:
        """News of what runs in the targets that are watched here, once it is on record; for ever."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            turn, self._news = self._news, {}
            for (ref, target), also in turn.items():
                known = self._by_target.get(target, {}).get(key := ref.key_in(target))
                if known is None or not self._copies.mine(target) or self._is_removed(ref):
                    continue
                look = functools.partial(self._observer.look, target, late=self._late(known))
                silent = self._unheard(target)
                same = known.silent == silent and all(look(each) == each for each in known.objects)
                if key in self._announced and not also and same:
                    continue
                entry, changed = await self._reports.observe(ref, target, look, self._clock(), silent)
                if entry is None:
                    continue
                told = entry.key in self._announced
                if changed or also or not told:
                    yield news(entry, also)
                if changed or not told:
                    yield observed(entry)
                    self._announced.add(entry.key)

    def _is_removed(self, ref: PlacementRef) -> bool:
        """Whether a placement is being removed: what changes in its targets is no news then."""
        head = self._heads.get(ref.key)
        return head is not None and head.deleted

    async def run(self) -> None:
        """Follow which targets are in use, and which of them are lost, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_reports())
                tasks.create_task(self._follow_inventory())
                tasks.create_task(self._follow_copies())
                tasks.create_task(self._mend())
        finally:
            await self._observer.close()

    def check(self) -> None:
        """Look for targets that fell silent, or were heard of again, and for objects that should have been seen."""
        for target, reports in list(self._by_target.items()):
            if not self._copies.mine(target):
                continue
            self._check(target, f"-since-{int(self._clock() - self._observer.silence(target))}")
            for report in reports.values():
                if self._late(report) and any(
                    self._observer.look(target, each, late=True) != each for each in report.objects
                ):
                    self._changed(report.placement, target)

    def _late(self, report: TargetReport | None) -> bool:
        """True if an object of the report was applied long ago and was never seen."""
        if report is None or self._clock() - report.observed_at < self._settings.unseen_seconds:
            return False
        return any(each.message == NOT_SEEN for each in report.objects)

    def silent(self, target: str) -> str:
        """Why nothing is known of a target now, in one sentence; empty when something is."""
        found = self._target(target)
        if found is None:
            return "The target is not in the inventory."
        if found.lost_since:
            why = f": {found.reason}" if found.reason else ""
            return f"The target is lost since {rfc3339(found.lost_since)}{why}."
        return self._unheard(target)

    def _silent_for(self, report: TargetReport) -> str:
        """The same, by a report where another copy watches the target."""
        target = report.target
        return self.silent(target) or ("" if self._copies.mine(target) else report.silent)

    def _unheard(self, target: str) -> str:
        """That nothing is heard of a target that is watched here, in one sentence; empty when something is."""
        if self._observer.silence(target) <= self._settings.stale_seconds:
            return ""
        return f"Nothing was heard of the target for more than {self._settings.stale_seconds:g} s."

    async def _follow_reports(self) -> None:
        async for keys in self._view.changes():
            touched = set()
            for key in keys:
                report = self._view.get(key)
                target = report.target if report else self._target_of.get(key)
                if target is None:
                    continue
                touched.add(target)
                if report is None:
                    del self._target_of[key]
                    self._announced.discard(key)
                    last = self._by_target[target].pop(key, None)
                    if last is not None and (key in self._view.unreadable or self._view.incomplete):
                        self._lost[key] = last
                        self._some_lost.set()
                else:
                    self._target_of[key] = target
                    self._by_target.setdefault(target, {})[key] = report
                    self._changed(report.placement, target)
            for target in touched:
                self._watch(target)
                if not self._by_target[target]:
                    del self._by_target[target]

    async def _mend(self) -> None:
        """Write what was lost again, where it is still bound."""
        while True:
            await self._some_lost.wait()
            self._some_lost.clear()
            for key, last in list(self._lost.items()):
                try:
                    await self._write_again(last)
                except (KubeError, BusError, Conflict) as error:
                    log.warning("a report is not written again yet", extra={"key": key, "error": str(error)})
                    asyncio.get_running_loop().call_later(_MEND_AGAIN, self._some_lost.set)
                else:
                    del self._lost[key]

    async def _write_again(self, last: TargetReport) -> None:
        binding = await self._records.binding(last.placement, last.target)

        async def as_before(known: TargetReport | None) -> TargetReport | None:
            return known if known is not None or binding is None else self._read(last, binding, last)

        await self._reports.change(last.placement, last.target, as_before, tries=_RACES)

    async def _follow_copies(self) -> None:
        """Watch what another copy watched until now, and leave to it what it watches from now on.

        It may have died between a write and the news of it, so that is told again.
        """
        async for _ in self._copies.changes():
            for target in list(self._by_target):
                known = target in self._watched
                self._watch(target)
                if not self._copies.mine(target):
                    self._silent.pop(target, None)
                elif not known:
                    self._announced -= self._by_target[target].keys()
                    self._synced(target)

    def _watch(self, target: str) -> None:
        """Watch in a target what is placed there, if that is for this copy to do, and else nothing."""
        kinds = self._kinds(target) if self._copies.mine(target) else set()
        self._observer.want(target, kinds)
        if kinds:
            self._watched.add(target)
        else:
            self._watched.discard(target)

    async def _follow_inventory(self) -> None:
        async for keys in self._inventory.changes():
            changed = [target for target in self._by_target if _inventory_key(target) in keys]
            for target in changed:
                entry = self._inventory.entries.get(_inventory_key(target))
                self._check(target, f"-inventory-{entry.revision if entry else self._inventory.revision}")

    def _check(self, target: str, fact: str) -> None:
        """Look at a target's placements when it falls silent or is heard of again; `fact` tells the times apart."""
        if not self._copies.mine(target):
            return
        why, before = self.silent(target), self._silent.get(target, "")
        if bool(why) == bool(before):
            return
        if why:
            self._silent[target] = why
        else:
            del self._silent[target]
        for report in self._by_target.get(target, {}).values():
            self._news[report.placement, target] = fact
        self._awake.set()

    def _changed(self, ref: PlacementRef, target: str) -> None:
        self._news.setdefault((ref, target), "")
        self._awake.set()

    def _synced(self, target: str) -> None:
        for report in self._by_target.get(target, {}).values():
            self._changed(report.placement, target)

    def _kinds(self, target: str) -> set[GroupKind]:
        reports = self._by_target.get(target, {}).values()
        return {parse_ref(each.ref)[:2] for report in reports for each in report.objects}

    def _target(self, target: str) -> Target | None:
        return self._inventory.get(_inventory_key(target))


def _inventory_key(target: str) -> str:
    return TargetRef.parse(target).key


def _newer(head: Head, other: Head | None) -> Head:
    return other if other is not None and head.older_than(other) else head

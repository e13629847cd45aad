"""The reporter takes news: it keeps the reports, and has the display show them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

from services.status.display import Display, TooSoon
from services.status.health import APPLIED
from services.status.kubernetes import StatusRecords
from services.status.lost import LostReports
from services.status.observe import TargetObserver
from services.status.parked import parked_of
from services.status.placed import GroupKind, Placed
from services.status.promoter import Promoter
from services.status.reports import Reports, believable, kind_of, merged, passes, reported, traced
from services.status.settings import StatusSettings
from services.status.settling import Settling
from services.status.telling import Telling
from shared.aio.lru import Lru
from shared.api import PlacementBinding, get_condition
from shared.broker.bus import Retry
from shared.broker.store import Conflict
from shared.broker.table import View
from shared.hub.declared import kinds_of
from shared.hub.kinds import Kinds
from shared.hub.retry import SOON
from shared.hub.targets import TargetClients
from shared.kube.times import rfc3339
from shared.model.declared import DeclaredKind
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.report import ObjectHealth, TargetReport, recorded
from shared.model.request import HeadEntry
from shared.model.target import Target
from shared.pipeline.copies import Copies
from shared.pipeline.messages import Bound, Decided, Displayed, Observed, Reported

log = logging.getLogger("moorage.status")

PLACES = 128
"""Messages Bound that a copy works on at once, of which half at most wait for what was applied to settle."""

_RACES = 10
_REMEMBERED = 10_000  # placements of which news comes again


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
        declared: View[DeclaredKind],
        clients: TargetClients,
        copies: Copies,
        recalls: Callable[[Observed], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        """Of targets, those are watched that are for this one of the `copies` to watch. `recalls` says whether the last
        that was told of a placement in a target is the same.
        """
        self._settings = settings
        self._records = records
        self._reports = reports
        self._heads = heads
        self._promoter = Promoter(
            settings, records=records, reports=reports, kinds=self._kinds_of, silent=self._silent_for, clock=clock
        )
        self._display = Display(
            settings,
            records=records,
            reports=reports,
            heads=heads,
            promoter=self._promoter,
            silent=self._silent_for,
            clock=clock,
        )
        self._view = view
        self._inventory = inventory
        self._copies = copies
        self._clock = clock
        self._declared = declared
        self._observer = TargetObserver(
            clients, self._target, changed=self._changed, synced=self._synced, kinds=self._kinds_of
        )
        self._telling = Telling(
            settings,
            reports=reports,
            observer=self._observer,
            concerns=self._concerns,
            unheard=self._unheard,
            recalls=recalls,
            clock=clock,
        )
        self._placed = Placed()
        self._watched: dict[str, set[GroupKind]] = {}  # which kinds, by target
        self._silent: dict[str, str] = {}  # why, by target; only those that are
        self._coming: Lru[PlacementRef, tuple[float, str]] = Lru(_REMEMBERED)  # when news comes again at last, of where
        self._lost = LostReports(records, reports, self._read)
        self._settling = Settling(settings.write_seconds, (settings.concurrency or PLACES) // 2)

    def phases(self) -> dict[tuple[str, ...], float]:
        """How many placements in targets, by their phase there."""
        return {(phase,): many for phase, many in Counter(each.phase for each in self._view.values()).items()}

    # --- messages ---------------------------------------------------------------------------------------------------

    async def decided(self, message: Decided) -> Displayed | None:
        """Show what was decided, or why nothing could be."""
        return await self._display.refresh(message.placement, message.head, message)

    async def reported(self, message: Reported) -> Displayed | None:
        """Show what is new of a placement."""
        return await self._display.refresh(message.placement, message.head, asking=True)

    async def observed(self, message: Observed) -> Displayed | None:
        """Show what is new of a placement in one target."""
        ref = message.placement
        try:
            known = self._reports.knows(ref, message.target, message.revision)
            return await self._display.refresh(ref, message.head, asking=not known)
        except TooSoon as early:
            if not self._comes_again(ref, message.target, early.delay):
                raise
            return None

    async def parked(self, subject: str, headers: Mapping[str, str], payload: bytes) -> None:
        """Show that a message was given up, unless a newer round has begun since."""
        found = parked_of(subject, headers, payload)
        if found is None:
            return
        newest = self._heads.get(found.placement.key)
        if newest is not None and found.head is not None and found.head.older_than(newest.head):
            return
        unknown = newest.head if newest is not None else Head(uid="", generation=0, attempt=0)
        await self._display.refresh(found.placement, found.head or unknown, parked=found)

    def _comes_again(self, ref: PlacementRef, target: str, delay: float) -> bool:
        """Whether news of another of its targets comes again within the delay, and shows this as well.

        If not, this has to: also where news of the same target was to come again, as NATS forgets that for newer news.
        """
        now = self._clock()
        until, other = self._coming.get(ref) or (0.0, target)
        if other != target and now < until <= now + delay:
            return True
        self._coming.put(ref, (now + delay, target))
        return False

    async def bound(self, message: Bound) -> list[Reported | Observed]:
        """Bring the report on one target up to date. The copy that watches the target tells of it: by the answer, where
        that is this one and what the report says does not pass.
        """
        ref, target = message.placement, message.target
        waited = await self._settling.wait(ref, target, lambda: self._may_settle(message))
        newest, before = self._heads.get(ref.key), self._reports.get(ref.key_in(target))

        async def as_bound(known: TargetReport | None) -> TargetReport | None:
            match believable(message, known, newest.head if newest is not None and not newest.deleted else None):
                case "yes":
                    return self._as_told(message, known)
                case "no":
                    return known
                case "ask":
                    binding = await self._records.binding(ref, target)
                    if binding is not None and binding.metadata.resource_version == message.version:
                        return self._as_told(message, known)  # what came of it is told before it is on record
                    return None if binding is None else self._read(message, binding, known)

        try:
            entry, _ = await self._reports.change(ref, target, as_bound, tries=_RACES)
        except Conflict as error:
            raise Retry(SOON, str(error)) from None
        if before is not None:
            await self._promoter.leave(before.value, entry.value if entry is not None else None)
        if entry is None:  # what is removed from several targets shows at once, if the Placement is still there
            return [] if message.vanished else [reported(ref, message.head, target, f"removed-{message.version}")]
        if message.phase == "Removing":  # which nobody watches any more
            return [reported(ref, message.head, target, f"removing-{message.version}")]
        return [*self._telling.answer(entry, waited=waited)] if self._copies.mine(target) else []

    def _may_settle(self, message: Bound) -> bool:
        """Whether something was applied of which there is no report yet, and this copy will see what becomes of it."""
        ref, target = message.placement, message.target
        if message.phase not in APPLIED or self._reports.get(ref.key_in(target)) is not None:
            return False
        kinds = {kind_of(each.ref) for each in message.objects}
        if not self._copies.mine(target) or not self._observer.follows(target, kinds):
            return False
        return passes(self._report(message, message.phase, message.message, message.objects, message.version, None))

    def _as_told(self, message: Bound, known: TargetReport | None) -> TargetReport | None:
        """The report on a target, as a message has it; None where nothing is there any more."""
        if message.phase == "Removed":
            return None
        return self._report(message, message.phase, message.message, message.objects, message.version, known)

    def _read(self, about: Bound | TargetReport, binding: PlacementBinding, known: TargetReport | None) -> TargetReport:
        """The report on a target, as its PlacementBinding has it."""
        status = binding.status
        applied = get_condition(status.conditions, "Applied")
        said, objects = applied.message if applied else "", [recorded(each) for each in status.objects]
        return self._report(about, status.phase, said, objects, binding.metadata.resource_version, known)

    def _report(
        self,
        about: Bound | TargetReport,
        phase: str,
        said: str,
        bound: Iterable[ObjectHealth],
        version: str,
        known: TargetReport | None,
    ) -> TargetReport:
        objects = merged(bound, known.objects if known else ())
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
            block=about.block,
            traceparent=traced(known) if isinstance(about, Bound) else about.traceparent,
        )

    # --- observations -----------------------------------------------------------------------------------------------

    def observations(self) -> AsyncGenerator[list[Reported | Observed], None]:
        """News of what runs in the targets that are watched here, once it is on record; for ever."""
        return self._telling.run()

    def _concerns(self, ref: PlacementRef, target: str) -> bool:
        """Whether to tell of a placement in a target: where this copy watches it, and it is not removed."""
        head = self._heads.get(ref.key)
        return self._copies.mine(target) and not (head is not None and head.deleted)

    async def run(self) -> None:
        """Follow which targets are in use, and which of them are lost, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_reports())
                tasks.create_task(self._follow_inventory())
                tasks.create_task(self._follow_copies())
                tasks.create_task(self._follow_declared())
                tasks.create_task(self._lost.run())
        finally:
            await self._observer.close()

    def check(self) -> None:
        """Look for targets that fell silent, or were heard of again, and for objects that should have been seen."""
        for target in self._placed.targets:
            if not self._copies.mine(target):
                continue
            self._check(target, f"-since-{int(self._clock() - self._observer.silence(target))}")
            for report in self._placed.reports(target):
                if self._telling.is_late(report):
                    self._telling.add(report.placement, target)

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
                target = report.target if report else self._placed.target_of(key)
                if target is None:
                    continue
                touched.add(target)
                self._reports.note(key)
                if report is None:
                    self._telling.forget(key)
                    last = self._placed.drop(key)
                    if last is not None and (key in self._view.unreadable or self._view.incomplete):
                        self._lost.add(key, last)
                else:
                    self._placed.put(key, report)
                    self._changed(report.placement, target)
            for target in touched:
                self._watch(target)

    async def _follow_copies(self) -> None:
        """Watch what another copy watched until now, and leave to it what it watches from now on.

        It may have died between a write and the news of it, so that is told again.
        """
        async for _ in self._copies.changes():
            for target in self._placed.targets:
                known = target in self._watched
                self._watch(target)
                if not self._copies.mine(target):
                    self._silent.pop(target, None)
                elif not known:
                    for key in self._placed.keys(target):
                        self._telling.forget(key)
                    self._synced(target)

    async def _follow_declared(self) -> None:
        """Look anew at objects of kinds that are declared otherwise than before."""
        known: dict[str, DeclaredKind] = {}
        async for keys in self._declared.changes():
            found = {key: each for key in keys if (each := self._declared.get(key)) is not None}
            about = {(each.spec.group, each.spec.kind) for each in found.values()}
            about |= {(each.spec.group, each.spec.kind) for key in keys if (each := known.pop(key, None)) is not None}
            known |= found
            self._observer.anew(about)

    def _kinds_of(self, workspace: str) -> Kinds:
        return kinds_of(workspace, (entry.value for entry in self._declared.entries.values()))

    def _watch(self, target: str) -> None:
        """Watch in a target what is placed there, if that is for this copy to do, and else nothing."""
        kinds = self._placed.kinds(target) if self._copies.mine(target) else set()
        if kinds == self._watched.get(target, set()):
            return
        self._observer.want(target, kinds)
        if kinds:
            self._watched[target] = kinds
        else:
            del self._watched[target]

    async def _follow_inventory(self) -> None:
        async for keys in self._inventory.changes():
            for key in filter(TargetRef.is_key, keys):
                target, entry = TargetRef.from_key(key).id, self._inventory.entries.get(key)
                if not self._placed.is_used(target):
                    continue
                self._observer.note(target)
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
        self._telling.spread([(report.placement, target) for report in self._placed.reports(target)], fact)

    def _changed(self, ref: PlacementRef, target: str) -> None:
        self._settling.note(ref, target)
        self._telling.add(ref, target)

    def _synced(self, target: str) -> None:
        for report in self._placed.reports(target):
            self._changed(report.placement, target)

    def _target(self, target: str) -> Target | None:
        return self._inventory.get(_inventory_key(target))


def _inventory_key(target: str) -> str:
    return TargetRef.parse(target).key


def _newer(head: Head, other: Head | None) -> Head:
    return other if other is not None and head.older_than(other) else head

"""The display: keeps the status of each Placement as what is true of it, with as few requests as that takes.

A Placement and its decision are remembered as they were last read, written or told of. What is written is written on
condition that nobody else wrote since, and read again only where somebody did; so what is remembered may be old, as
another copy of the worker may have written meanwhile, and does no harm. What is followed of the buckets is as new as
the news that is shown, or the buckets are asked.
"""

import asyncio
import functools
import weakref
from collections.abc import Callable

from services.status.conditions import HELD, OVERRIDDEN, PARKED, PREEMPTED, SCHEDULED, WARNING, chosen
from services.status.core import aggregate, displayed
from services.status.health import states
from services.status.kubernetes import StatusRecords
from services.status.pace import Pace, is_awaited
from services.status.parked import Parked
from services.status.promoter import Promoter
from services.status.reports import Reports
from services.status.settings import StatusSettings
from services.status.standing import Standing, shown, told, unreported, written
from shared.aio.lru import Lru
from shared.api import Placement, get_condition
from shared.broker.bus import Retry
from shared.broker.table import Entry, View
from shared.kube.errors import ApiError
from shared.kube.times import rfc3339
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.report import TargetReport
from shared.model.request import HeadEntry
from shared.pipeline.messages import Decided, Displayed

_REMEMBERED = 10_000  # placements; some 3 KB each


class TooSoon(Retry):
    """The status was written just now, and nobody waits for what is new."""


class Display:
    """`silent` says why nothing is known of the target of a report, empty where something is."""

    def __init__(
        self,
        settings: StatusSettings,
        *,
        records: StatusRecords,
        reports: Reports,
        heads: View[HeadEntry],
        promoter: Promoter,
        silent: Callable[[TargetReport], str],
        clock: Callable[[], float],
    ) -> None:
        self._promoter = promoter
        self._thresholds = settings.thresholds
        self._records = records
        self._reports = reports
        self._heads = heads
        self._asked: Lru[str, Entry[HeadEntry]] = Lru(_REMEMBERED)  # heads that may be newer than those followed
        self._silent = silent
        self._clock = clock
        self._pace = Pace(settings.write_seconds, clock)
        self._known: Lru[PlacementRef, Standing] = Lru(_REMEMBERED)
        self._gone: Lru[str, None] = Lru(_REMEMBERED)  # uids of Placements
        self._turns: weakref.WeakValueDictionary[PlacementRef, asyncio.Lock] = weakref.WeakValueDictionary()

    async def refresh(
        self,
        ref: PlacementRef,
        at: Head,
        decided: Decided | None = None,
        *,
        asking: bool = False,
        parked: Parked | None = None,
    ) -> Displayed | None:
        """Write the Placement's status if it differs from what is true now; what it says then.

        `at` is the head of the news; `asking`: the buckets are to be asked for the rest, as what is followed of them
        may be older than the news; `parked`: the news is that a message was given up.

        Raises TooSoon when it has to wait, and what the hub answers.
        """
        async with self._turns.setdefault(ref, asyncio.Lock()):
            if at.uid in self._gone:
                return None
            known = self._recalled(ref, at, decided)
            if known is not None:
                try:
                    return await self._show(ref, known, decided, asking, parked)
                except ApiError as error:
                    self._known.pop(ref)
                    if not (error.conflict or error.not_found):
                        raise
            found = await self._read(ref)
            if found is not None:
                return await self._show(ref, found, decided, asking, parked)
            if at.uid:
                self._gone.put(at.uid, None)
            await self._reports.forget(ref)
            return None

    def _recalled(self, ref: PlacementRef, at: Head, decided: Decided | None) -> Standing | None:
        """The standing of a placement as it is remembered; None where news says that it cannot be so any more."""
        known, head = self._known.get(ref), self._heads.get(ref.key)
        if known is None and decided is not None and decided.unreported:
            known = Standing(placement=unreported(decided), decision=None)
        if known is None or head is None or known.placement.metadata.uid != at.uid:
            return None
        metadata, attempt = known.placement.metadata, known.decision.attempt if known.decision is not None else 0
        if metadata.deletion_timestamp:
            return known
        if head.deleted or metadata.generation < at.generation:
            return None
        if decided is None:
            return known if attempt >= at.attempt else None
        if decided.refusal is not None:  # it leaves what was decided before, or is too old to say when it was decided
            return known if attempt or at.attempt == 1 else None
        return known if decided.decided_at else None

    async def _read(self, ref: PlacementRef) -> Standing | None:
        """The standing of a placement as the hub has it; None where there is no such Placement."""
        placement, decision = await asyncio.gather(self._records.placement(ref), self._records.decision(ref))
        if placement is None:
            return None
        return Standing(placement=shown(placement), decision=written(decision) if decision is not None else None)

    async def _show(
        self, ref: PlacementRef, known: Standing, decided: Decided | None, asking: bool, parked: Parked | None
    ) -> Displayed | None:
        placement, decision = known.placement, known.decision
        if parked is not None and parked.head is not None and parked.head.uid != placement.metadata.uid:
            return None
        if decided is not None and decided.head.uid != placement.metadata.uid:
            return None
        if decided is not None and decision is not None and decision.attempt > decided.head.attempt:
            return None
        if decided is not None and decided.decided_at:
            decision = told(decided, decision)
        self._known.put(ref, Standing(placement=placement, decision=decision))
        reports = await self._reports.of(ref) if asking else self._reports.known(ref)
        silent = {each.target: why for each in reports if (why := self._silent(each))}
        now, (held, held_reason) = self._clock(), await self._held(ref, asking)
        status = aggregate(
            placement,
            decision,
            states(decision, reports, silent, self._thresholds),
            rfc3339(now),
            decided=decided,
            held=held,
            held_reason=held_reason,
            parked=parked,
            thresholds=self._thresholds,
        )
        telling = functools.partial(displayed, ref, placement.metadata.uid, status, decision, reports, rfc3339(now))
        due = self._promoter.due(ref, decision.selected if decision is not None else (), reports)
        if status == placement.status and not due:
            return telling(repeated=True)
        wait = self._pace.wait(ref, awaited=is_awaited(placement.status, status))
        if wait > 0:
            raise TooSoon(wait, "the status was written just now")
        if status == placement.status:
            await self._promoter.write(ref, due)
            self._pace.wrote(ref)
            return telling(repeated=True)
        if decided is not None:
            await self._tell(ref, placement, decided)
        before = get_condition(placement.status.conditions, HELD)
        if held and (before is None or before.message != held):
            await self._records.tell(ref.workspace, placement, "Warning", HELD, held, now)
        if parked is not None:
            await self._records.tell(ref.workspace, placement, "Warning", PARKED, parked.sentence, now)
        after = await self._records.write(ref, placement, status)
        self._known.put(ref, Standing(placement=shown(after), decision=decision))
        self._pace.wrote(ref)
        await self._promoter.write(ref, due)
        return telling(repeated=False)

    async def _held(self, ref: PlacementRef, asking: bool) -> tuple[str, str]:
        """Why a placement stays on targets that it would have to leave, and in one word: by the newest head seen."""
        entry = self._heads.entries.get(ref.key)
        if asking:
            entry = await self._heads.fresh(ref.key)
            if entry is not None:
                self._asked.put(ref.key, entry)
        elif (asked := self._asked.get(ref.key)) is not None:
            if self._heads.revision < asked.revision:
                entry = asked
            else:
                self._asked.pop(ref.key)
        return (entry.value.held, entry.value.held_reason) if entry is not None else ("", "")

    async def _tell(self, ref: PlacementRef, placement: Placement, decided: Decided) -> None:
        """An Event when what is said of scheduling changes. It goes first: repeated after a crash, it is the same."""
        before = get_condition(placement.status.conditions, SCHEDULED)
        now = self._clock()
        if decided.contended:
            return
        overridden = get_condition(placement.status.conditions, OVERRIDDEN)
        if decided.overridden and (
            overridden is None or overridden.status != "True" or decided.overridden != overridden.message
        ):
            await self._records.tell(ref.workspace, placement, "Normal", OVERRIDDEN, decided.overridden, now)
        preempted = get_condition(placement.status.conditions, PREEMPTED)
        if decided.preempted and (
            preempted is None or preempted.status != "True" or decided.preempted != preempted.message
        ):
            await self._records.tell(ref.workspace, placement, "Warning", PREEMPTED, decided.preempted, now)
        if decided.refusal is not None:
            if before is None or before.message != decided.refusal.message:
                refusal = decided.refusal
                await self._records.tell(ref.workspace, placement, "Warning", refusal.code, refusal.message, now)
            return
        note = chosen(decided)
        known = {TargetRef.of(each).id for each in placement.status.targets}
        new = {each.target for each in decided.selected} - known or (known and not decided.selected)
        if before is None or before.status != "True" or new:
            await self._records.tell(ref.workspace, placement, "Normal", "Scheduled", note, now)
        warned = get_condition(placement.status.conditions, WARNING)
        if decided.warning and (warned is None or warned.status != "True" or decided.warning != warned.message):
            await self._records.tell(ref.workspace, placement, "Warning", WARNING, decided.warning, now)

"""The display: keeps the status of each Placement as what is true of it, with as few requests as that takes.

A Placement and its decision are remembered as they were last read, written or told of. What is written is written on
condition that nobody else wrote since, and read again only where somebody did; so what is remembered may be old, as
another copy of the worker may have written meanwhile, and does no harm.
"""

import asyncio
import weakref
from collections.abc import Callable

from services.status.conditions import HELD, SCHEDULED, chosen
from services.status.core import aggregate
from services.status.health import states
from services.status.kubernetes import StatusRecords
from services.status.pace import Pace, is_awaited
from services.status.reports import Reports
from services.status.settings import StatusSettings
from services.status.standing import Standing, shown, told, unreported, written
from shared.aio.lru import Lru
from shared.api import Placement, get_condition
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.kube.errors import ApiError
from shared.kube.times import rfc3339
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.report import TargetReport
from shared.model.request import HeadEntry
from shared.pipeline.messages import Decided

_REMEMBERED = 10_000  # placements; some 3 KB each


class Display:
    """`silent` says why nothing is known of the target of a report, empty where something is."""

    def __init__(
        self,
        settings: StatusSettings,
        *,
        records: StatusRecords,
        reports: Reports,
        heads: View[HeadEntry],
        silent: Callable[[TargetReport], str],
        clock: Callable[[], float],
    ) -> None:
        self._thresholds = settings.thresholds
        self._records = records
        self._reports = reports
        self._heads = heads
        self._silent = silent
        self._clock = clock
        self._pace = Pace(settings.write_seconds, clock)
        self._known: Lru[PlacementRef, Standing] = Lru(_REMEMBERED)
        self._gone: Lru[str, None] = Lru(_REMEMBERED)  # uids of Placements
        self._turns: weakref.WeakValueDictionary[PlacementRef, asyncio.Lock] = weakref.WeakValueDictionary()

    async def refresh(self, ref: PlacementRef, at: Head, decided: Decided | None = None) -> None:
        """Write the Placement's status if it differs from what is true now. `at` is the head of the news.

        Raises Retry when it was just written and nobody waits for what is new, and what the hub answers.
        """
        async with self._turns.setdefault(ref, asyncio.Lock()):
            if at.uid in self._gone:
                return
            known = self._recalled(ref, at, decided)
            if known is not None and await self._shown(ref, known, decided):
                return
            found = await self._read(ref)
            if found is None:
                if at.uid:
                    self._gone.put(at.uid, None)
                await self._reports.forget(ref)
            else:
                await self._show(ref, found, decided)

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

    async def _shown(self, ref: PlacementRef, known: Standing, decided: Decided | None) -> bool:
        """Show what is remembered; False where that was not so any more."""
        try:
            await self._show(ref, known, decided)
        except ApiError as error:
            self._known.pop(ref)
            if not (error.conflict or error.not_found):
                raise
            return False
        return True

    async def _show(self, ref: PlacementRef, known: Standing, decided: Decided | None) -> None:
        placement, decision = known.placement, known.decision
        if decided is not None and decided.head.uid != placement.metadata.uid:
            return
        if decided is not None and decision is not None and decision.attempt > decided.head.attempt:
            return
        if decided is not None and decided.decided_at:
            decision = told(decided, decision)
        self._known.put(ref, Standing(placement=placement, decision=decision))
        reports = await self._reports.of(ref)
        silent = {each.target: why for each in reports if (why := self._silent(each))}
        now, head = self._clock(), await self._heads.fresh(ref.key)
        held = head.value.held if head is not None else ""
        status = aggregate(
            placement,
            decision,
            states(decision, reports, silent, self._thresholds),
            rfc3339(now),
            decided=decided,
            held=held,
            thresholds=self._thresholds,
        )
        if status == placement.status:
            return
        wait = self._pace.wait(ref, awaited=is_awaited(placement.status, status))
        if wait > 0:
            raise Retry(wait, "the status was written just now")
        if decided is not None:
            await self._tell(ref, placement, decided)
        before = get_condition(placement.status.conditions, HELD)
        if held and (before is None or before.message != held):
            await self._records.tell(ref.workspace, placement, "Warning", HELD, held, now)
        after = await self._records.write(ref, placement, status)
        self._known.put(ref, Standing(placement=shown(after), decision=decision))
        self._pace.wrote(ref)

    async def _tell(self, ref: PlacementRef, placement: Placement, decided: Decided) -> None:
        """An Event when what is said of scheduling changes. It goes first: repeated after a crash, it is the same."""
        before = get_condition(placement.status.conditions, SCHEDULED)
        now = self._clock()
        if decided.contended:
            return
        if decided.refusal is not None:
            if before is None or before.message != decided.refusal.message:
                refusal = decided.refusal
                await self._records.tell(ref.workspace, placement, "Warning", refusal.code, refusal.message, now)
            return
        note = chosen(decided)
        known = {TargetRef.of(each).id for each in placement.status.targets}
        if before is None or before.status != "True" or {each.target for each in decided.selected} - known:
            await self._records.tell(ref.workspace, placement, "Normal", "Scheduled", note, now)

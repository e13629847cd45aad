"""Telling: what is new of placements in the targets that are watched here is put on record, and told.

News that passes by itself (something is on its way to run), of what had not settled before either, waits for a while:
what it becomes may be told in its place. All else is told at once: that something runs, does not, or no more.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import msgspec

from services.status.observe import TargetObserver
from services.status.reports import NOT_SEEN, Reports, news, observed, passes
from services.status.settings import StatusSettings
from shared.broker.table import Entry
from shared.model.refs import PlacementRef
from shared.model.report import TargetReport
from shared.pipeline.messages import Observed, Reported

_AT_ONCE = 32  # placements in targets

SPREAD_SECONDS = 30.0
SOME_A_SECOND = 20.0
"""Where the same is to be told of many placements: for how long at most, and of how many a second at least."""

PlacementTarget = tuple[PlacementRef, str]


def apart(many: int) -> float:
    """Seconds from one to the next, where the same is to be told of many placements."""
    return min(1 / SOME_A_SECOND, SPREAD_SECONDS / max(1, many))


class ToldReport(msgspec.Struct, frozen=True):
    """What was told of a report since this process began: at which revision, and whether it was to pass."""

    revision: int
    passing: bool


class Telling:
    """`concerns` says whether this copy tells of a placement in a target, `unheard` why a target is not heard of."""

    def __init__(
        self,
        settings: StatusSettings,
        *,
        reports: Reports,
        observer: TargetObserver,
        concerns: Callable[[PlacementRef, str], bool],
        unheard: Callable[[str], str],
        recalls: Callable[[Observed], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._reports = reports
        self._observer = observer
        self._concerns = concerns
        self._unheard = unheard
        self._recalls = recalls
        self._clock = clock
        self._news: dict[PlacementTarget, str] = {}
        self._told: dict[str, ToldReport] = {}  # by key of the report
        self._waiting: dict[PlacementTarget, bool] = {}  # whether it waited for long enough
        self._awake = asyncio.Event()

    def add(self, ref: PlacementRef, target: str, also: str | None = None) -> None:
        """There may be news of a placement in a target. `also` is a fact beside its report, another each time."""
        if also is None:
            self._news.setdefault((ref, target), "")
        else:
            self._news[ref, target] = also
        self._awake.set()

    def spread(self, many: Sequence[PlacementTarget], also: str) -> None:
        """The same news of many, as when their target is lost, one after the other: all at once they would hold up what
        is decided for them in answer.
        """
        for number, where in enumerate(many):
            asyncio.get_running_loop().call_later(number * apart(len(many)), self.add, *where, also)

    def forget(self, key: str) -> None:
        """A report is gone, or was told of by another copy until now, if it was."""
        self._told.pop(key, None)

    def answer(self, entry: Entry[TargetReport], *, waited: bool = False) -> list[Observed]:
        """What is told of a report at once by who wrote it: nothing, where it passes. That is told by `run` after a
        while, which is over where it was `waited` for before it was written.
        """
        if passes(entry.value):
            if waited:
                where = entry.value.placement, entry.value.target
                self._waiting[where] = True
                self.add(*where)
            return []
        self._told[entry.key] = ToldReport(entry.revision, passing=False)
        return [observed(entry)]

    def is_late(self, report: TargetReport) -> bool:
        """True if an object of the report was applied long ago and was never seen."""
        if self._clock() - report.observed_at < self._settings.unseen_seconds:
            return False
        return any(each.message == NOT_SEEN for each in report.objects)

    async def run(self) -> AsyncGenerator[list[Reported | Observed], None]:
        """What is to be told, once it is on record; for ever."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            turn = self._turn()
            try:
                recorded = await asyncio.gather(*(self._record(*each) for each in turn))
                told = await asyncio.gather(
                    *(self._messages(*each) for each in zip(recorded, turn.values(), strict=True))
                )
                messages = [message for each in told for message in each]
                if messages:
                    yield messages
            except BaseException:  # it is not known what was told
                for (ref, target), also in turn.items():
                    self.add(ref, target, also or None)
                raise
            for entry in recorded:
                if entry is not None:
                    self._told[entry.key] = ToldReport(entry.revision, passes(entry.value))

    def _turn(self) -> dict[PlacementTarget, str]:
        """Take the next of what is news, with what else is new."""
        turn: dict[PlacementTarget, str] = {}
        for where in list(self._news):
            if len(turn) == _AT_ONCE:
                self._awake.set()
                break
            also = self._news.pop(where)
            if not self._has_to_wait(where, also):
                self._waiting.pop(where, None)
                if self._is_news(*where, also):
                    turn[where] = also
        return turn

    def _is_news(self, ref: PlacementRef, target: str, also: str) -> bool:
        entry = self._reports.get(ref.key_in(target))
        if entry is None or not self._concerns(ref, target):
            return False
        told = self._told.get(entry.key)
        return bool(also) or told is None or told.revision < entry.revision or self._now(entry.value) != entry.value

    def _has_to_wait(self, where: PlacementTarget, also: str) -> bool:
        """Whether news is not told yet, but looked at again in a while."""
        ref, target = where
        entry = self._reports.get(ref.key_in(target))
        if also or entry is None or not passes(self._now(entry.value)):
            return False
        told = self._told.get(entry.key)
        if self._waiting.get(where) or (told is not None and not told.passing):
            return False
        if where not in self._waiting and self._is_news(ref, target, also):
            self._waiting[where] = False
            asyncio.get_running_loop().call_later(self._settings.write_seconds, self._waited, where)
        return True

    def _waited(self, where: PlacementTarget) -> None:
        if where in self._waiting:
            self._waiting[where] = True
            self.add(*where)

    def _now(self, report: TargetReport) -> TargetReport:
        """A report with everything as it is seen now."""
        look = functools.partial(self._observer.look, report.target, late=self.is_late(report))
        objects = tuple(map(look, report.objects))
        return msgspec.structs.replace(report, objects=objects, silent=self._unheard(report.target))

    async def _record(self, ref: PlacementRef, target: str) -> Entry[TargetReport] | None:
        """Have the report say what is seen now; None where there is none any more."""
        entry = self._reports.get(ref.key_in(target))
        late = entry is not None and self.is_late(entry.value)
        look = functools.partial(self._observer.look, target, late=late)
        entry, _ = await self._reports.observe(ref, target, look, self._clock(), self._unheard(target))
        return entry

    async def _messages(self, entry: Entry[TargetReport] | None, also: str) -> list[Reported | Observed]:
        """What is to be told of a report. What another process told last, before this one began, is not told again."""
        if entry is None:
            return []
        messages: list[Reported | Observed] = [news(entry, also)] if also else []
        told, message = self._told.get(entry.key), observed(entry)
        if told.revision < entry.revision if told is not None else not await self._recalls(message):
            messages.append(message)
        return messages

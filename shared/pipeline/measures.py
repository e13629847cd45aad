"""What is counted and timed of the pipeline: as with spans, only what messages state, and how their handling ends."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self, get_args

from shared.aio.lru import Lru
from shared.broker.bus import Delivery, Lag
from shared.kube.times import seconds
from shared.model.reasons import RefusalCode
from shared.model.request import CauseCode, HeadEntry
from shared.pipeline.messages import Decided, Displayed, Message, Requested, Scheduled
from shared.pipeline.spans import decided_as, ending
from shared.process.measured import (
    ANSWERED,
    DECIDE,
    DECISIONS,
    LONGEST_WAITS,
    OLDEST,
    PENDING,
    PROCESSED,
    QUEUED,
    READY,
    RETRIES,
    ROUNDS,
    SENT,
    UNACKNOWLEDGED,
)
from shared.process.metrics import OTHER, Reading

MOST_NAMED: Final = 10  # workspaces
WITHIN: Final = 60.0  # seconds
_REMEMBERED: Final = 1000  # workspaces, and placements that became ready
_CAUSES: Final = frozenset(get_args(CauseCode))
_REASONS: Final = frozenset(RefusalCode)


_began: ContextVar[float] = ContextVar("moorage_began", default=0.0)


def handled_for() -> float | None:
    """For how many seconds the message has been handled that is handled here; None outside of any."""
    began = _began.get()
    return time.perf_counter() - began if began else None


class Waits:
    """The longest wait of each workspace in the last minute, of those that waited longest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._longest: Lru[str, tuple[float, float]] = Lru(_REMEMBERED)  # how long, and when that was seen

    def note(self, workspace: str, waited: float) -> None:
        """A message of a workspace waited so long (seconds)."""
        now, known = self._clock(), self._longest.get(workspace)
        if known is None or waited >= known[0] or now - known[1] > WITHIN:
            self._longest.put(workspace, (waited, now))

    def top(self) -> dict[str, float]:
        """By workspace, at most `MOST_NAMED` of them."""
        since = self._clock() - WITHIN
        known = {name: found for name in list(self._longest) if (found := self._longest.get(name)) is not None}
        recent = {name: waited for name, (waited, seen) in known.items() if seen >= since}
        return dict(sorted(recent.items(), key=lambda each: -each[1])[:MOST_NAMED])


class WorkInHand:
    """What one copy of a worker has in hand, and how long it waited."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._in_hand: dict[str, dict[int, float]] = {}  # by consumer: when each was published
        self._waits = Waits(clock)
        self._became: Lru[str, str] = Lru(_REMEMBERED)  # which rounds were seen to be ready

    def handling(self, consumer: str, delivery: Delivery) -> "Handling":
        """Measures how a delivery is handled, as a context manager."""
        return Handling(consumer, delivery, self._in_hand.setdefault(consumer, {}), self._clock)

    def begun(self, message: Message, delivery: Delivery) -> None:
        """A message came to be handled that is still of interest."""
        if delivery.stored_at and delivery.attempt == 1:
            self._waits.note(message.about.workspace, max(self._clock() - delivery.stored_at, 0.0))

    def handled(self, message: Message, emitted: Iterable[Message], head: HeadEntry | None) -> None:
        """What came of a message; `head` is the newest that is known of its placement."""
        for each in emitted:
            if isinstance(each, Decided) and isinstance(message, Scheduled):
                self._decided(each, message)
            elif isinstance(each, Displayed) and each.phase == "Ready" and head is not None:
                self._ready(each, head)

    def readings(self, lags: Callable[[], Mapping[str, Lag]]) -> tuple[Reading, ...]:
        """What can be read of it, and of what waits for it."""

        def oldest() -> dict[tuple[str, ...], float]:
            now = self._clock()
            return {
                (consumer,): max((now - each for each in hand.values()), default=0.0)
                for consumer, hand in self._in_hand.items()
            }

        return (
            OLDEST.read(oldest),
            LONGEST_WAITS.read(lambda: {(name,): waited for name, waited in self._waits.top().items()}),
            PENDING.read(lambda: {(name,): each.pending for name, each in lags().items()}),
            UNACKNOWLEDGED.read(lambda: {(name,): each.unacknowledged for name, each in lags().items()}),
        )

    def _decided(self, decided: Decided, scheduled: Scheduled) -> None:
        outcome = decided_as(decided.refusal, contended=decided.contended)
        reason = _known(decided.refusal.code, _REASONS) if decided.refusal is not None else ""
        DECISIONS.add(outcome, reason)
        if since := scheduled.request.requested_at:
            DECIDE.took(self._clock() - since, _known(scheduled.request.cause.code, _CAUSES), outcome)

    def _ready(self, ready: Displayed, head: HeadEntry) -> None:
        """Ready is told whenever a status is looked at; it counts once, and for the round that is the newest."""
        if ready.head != head.head or not head.requested_at or ready.repeated:
            return
        key, at = f"{ready.head.uid}:{ready.head.attempt}", ready.became
        if self._became.get(key) is None:
            self._became.put(key, at)
            READY.took(seconds(at) - head.requested_at)


class Handling:
    """How one delivery is handled: how long, and how it ends. `superseded` is for whoever finds that."""

    def __init__(
        self, consumer: str, delivery: Delivery, in_hand: dict[int, float], clock: Callable[[], float]
    ) -> None:
        self.superseded = False
        self._consumer = consumer
        self._delivery = delivery
        self._in_hand = in_hand
        self._clock = clock
        self._began = 0.0

    def __enter__(self) -> Self:
        delivery = self._delivery
        self._began = time.perf_counter()
        self._token = _began.set(self._began)
        if delivery.stored_at:
            self._in_hand[delivery.sequence] = delivery.stored_at
            if delivery.attempt == 1:
                QUEUED.took(self._clock() - delivery.stored_at, self._consumer)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        _began.reset(self._token)
        self._in_hand.pop(self._delivery.sequence, None)
        outcome, reason = ("superseded" if self.superseded else "ok", "") if error is None else ending(error)
        if reason:
            RETRIES.add(self._consumer, reason)
        if outcome:
            PROCESSED.took(time.perf_counter() - self._began, self._consumer, outcome)


class answering(AbstractContextManager[None]):  # noqa: N801 - as what it is used like
    """A question is answered, by this worker and function."""

    def __init__(self, question: str) -> None:
        self._question = question

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        outcome = "ok" if error is None else ending(error)[0]
        if outcome:
            ANSWERED.took(time.perf_counter() - self._began, self._question, outcome)


def sent(message: Message) -> None:
    """A message is sent to a stage."""
    SENT.add(message.stage)
    if isinstance(message, Requested):
        ROUNDS.add(_known(message.request.cause.code, _CAUSES))


def _known(word: str, words: frozenset[str]) -> str:
    """A word of the wire as a label: what another release may have made of it is no new one."""
    return word if word in words else OTHER

"""How soon a Placement's status may be written again: at once what somebody waits for, the rest once in a while."""

from collections.abc import Callable

from services.status.conditions import READY, SCHEDULED
from shared.aio.lru import Lru
from shared.api import PlacementPhase, PlacementStatus, get_condition
from shared.model.refs import PlacementRef

_REMEMBERED = 10_000  # placements whose last writes are remembered
_JUMPS = 4.0
"""Writes that do not wait their turn, saved up at most: what flaps for ever is written at the usual pace."""
_SETTLED: frozenset[PlacementPhase] = frozenset({"Ready", "Degraded", "Unschedulable", "Idle", "Suspended"})


def is_awaited(before: PlacementStatus, after: PlacementStatus) -> bool:
    """True if the new status says what somebody may be waiting for: that it was acted on at all, on this generation,
    that it is decided or cannot be, is Ready (no more), or that something is wrong.

    The rest is progress on the way there, and details.
    """
    return (
        not before.conditions
        or before.observed_generation != after.observed_generation
        or (before.phase != after.phase and after.phase in _SETTLED)
        or any(_truth(before, name) != _truth(after, name) for name in (SCHEDULED, READY))
    )


def _truth(status: PlacementStatus, name: str) -> str:
    found = get_condition(status.conditions, name)
    return found.status if found is not None else ""


class Pace:
    """When each Placement's status may be written: once per `seconds`, but what is awaited need not wait for its turn,
    until it did so too often. `clock` in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: Lru[PlacementRef, tuple[float, float]] = Lru(_REMEMBERED)  # when, and how many may jump the queue

    def wait(self, ref: PlacementRef, *, awaited: bool) -> float:
        """Seconds until it may be written; 0 when it may be now."""
        turn, jumps = self._standing(ref)
        return 0.0 if awaited and jumps >= 1 else turn

    def wrote(self, ref: PlacementRef) -> None:
        """It was written just now."""
        turn, jumps = self._standing(ref)
        self._last.put(ref, (self._clock(), jumps - 1 if turn and jumps >= 1 else jumps))

    def _standing(self, ref: PlacementRef) -> tuple[float, float]:
        """Seconds until it is its turn, and how many more may jump the queue; one more with every turn that passes."""
        last = self._last.get(ref)
        if last is None or not self._seconds:
            return 0.0, _JUMPS
        (at, jumps), now = last, self._clock()
        return max(0.0, at + self._seconds - now), min(_JUMPS, jumps + (now - at) / self._seconds)

"""Which placements the sweep looks at next: those that something changed for, and those whose time has come."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

from services.controller.core.waking import Wake
from shared.model.refs import PlacementRef

LONGEST = 300.0
"""Seconds after which each placement is looked at whatever is known of it, should some change have gone unnoticed; some
sooner than others, so that not all come at once."""

K = TypeVar("K")


class Agenda:
    """When each placement is looked at next. What it costs does not depend on those for which nothing happens.

    Bounded by the number of placements. Times are in seconds.
    """

    def __init__(self) -> None:
        self._due: dict[PlacementRef, None] = {}
        self._wakes: dict[PlacementRef, int] = {}
        self._at: defaultdict[int, dict[PlacementRef, None]] = defaultdict(dict)  # by second
        self._by_world: dict[PlacementRef, None] = {}
        self._targets: dict[PlacementRef, frozenset[str]] = {}
        self._by_target: defaultdict[str, dict[PlacementRef, None]] = defaultdict(dict)

    def touch(self, ref: PlacementRef) -> None:
        """Something changed that the next step of a placement may depend on, or it is new."""
        self._due[ref] = None

    def touch_on(self, target: str) -> None:
        """A target changed."""
        self._due.update(self._by_target.get(target, {}))

    def touch_all(self) -> None:
        """All placements are to be looked at."""
        self._due.update(dict.fromkeys(self._wakes))

    def due(self, now: float, *, world_changed: bool) -> list[PlacementRef]:
        """The placements to look at now; each is due until it is put back, or forgotten."""
        if world_changed:
            self._due.update(self._by_world)
        # Also what is too far away, as after the clock was set back.
        for second in [each for each in self._at if not now < each <= now + LONGEST + 1]:
            self._due.update(self._at[second])
        return list(self._due)

    def put(self, ref: PlacementRef, wake: Wake, now: float, targets: Iterable[str]) -> None:
        """A placement, on some targets, was looked at, and is again when it wakes."""
        self.forget(ref)
        latest = now + LONGEST * (1 + hash(ref) % 64 / 64) / 2
        second = self._wakes[ref] = int(min(wake.at, latest)) + 1
        self._at[second][ref] = None
        if wake.at <= now:
            self._due[ref] = None
        if wake.by_world:
            self._by_world[ref] = None
        self._targets[ref] = frozenset(targets)
        for target in self._targets[ref]:
            self._by_target[target][ref] = None

    def forget(self, ref: PlacementRef) -> None:
        """There is no such placement any more."""
        self._due.pop(ref, None)
        self._by_world.pop(ref, None)
        second = self._wakes.pop(ref, None)
        if second is not None:
            _discard(self._at, second, ref)
        for target in self._targets.pop(ref, ()):
            _discard(self._by_target, target, ref)


def _discard(groups: dict[K, dict[PlacementRef, None]], group: K, ref: PlacementRef) -> None:
    groups[group].pop(ref, None)
    if not groups[group]:
        del groups[group]

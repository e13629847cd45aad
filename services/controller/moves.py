"""How many placements may leave targets at a time."""

from collections.abc import Callable, Collection

from services.controller.settings import ControllerSettings
from shared.aio.lru import Lru
from shared.aio.rate import Rate

REMEMBERED = 1000
"""Targets of which it is remembered that all placements may leave them."""
AT_ONCE_SECONDS = 600.0
"""For so long after the last placement that left it, a target stays one that is left at once."""


class Moves:
    """How many placements may leave targets, in all and of one workspace; and which targets all may leave at once.

    That one target is lost is an ordinary failure, and whatever ran there is wanted elsewhere soon. That many are lost
    may be a failure of our own, so the others are left by some placements after the other, until their turn comes.
    """

    def __init__(self, settings: ControllerSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = Rate(settings.max_moves_per_minute, clock)
        self._each = Rate(settings.max_workspace_moves_per_minute, clock)
        self._targets_per_minute = settings.max_targets_left_per_minute
        self._at_once: Lru[str, float] = Lru(REMEMBERED)  # and when a placement left it last
        self._last_target = float("-inf")

    def left(self, workspace: str) -> float:
        """How many of a workspace may leave a target now that is not left at once."""
        return min(self._all.left(), self._each.left(workspace))

    def at_once(self, targets: Collection[str]) -> bool:
        """Whether all placements may leave these targets now."""
        new = self._new(targets)
        return not new or (len(new) == 1 and self._has_turn())

    def take(self, workspace: str, targets: Collection[str]) -> bool:
        """Whether one of a workspace may leave these targets now; if so, it counts."""
        now = self._clock()
        if self.at_once(targets):
            if self._new(targets):
                self._last_target = now
            for target in targets:
                self._at_once.put(target, now)
            return True
        return self.left(workspace) >= 1 and self._all.take() and self._each.take(workspace)

    def _new(self, targets: Collection[str]) -> list[str]:
        """Those that are not left at once so far."""
        since = self._clock() - AT_ONCE_SECONDS
        return [target for target in targets if (self._at_once.get(target) or float("-inf")) < since]

    def _has_turn(self) -> bool:
        """Whether one more target may be left at once now. Turns are not saved up."""
        return self._targets_per_minute > 0 and self._clock() - self._last_target >= 60 / self._targets_per_minute

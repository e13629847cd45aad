"""When a healthy placement looks for better targets."""

from collections.abc import Iterable

from shared.api import HistoryEntry, Rebalance, duration_seconds
from shared.kube.times import seconds


def moved_at(history: Iterable[HistoryEntry]) -> float:
    """When a placement last left a target for another, in seconds since the epoch; 0 when its history knows of none.

    `history` begins with the newest change. To be placed at first, to grow or to shrink is no move.
    """
    moves = (entry for entry in history if set(entry.from_) - set(entry.to) and set(entry.to) - set(entry.from_))
    newest = next(moves, None)
    return seconds(newest.when) if newest is not None else 0.0


def may_improve(
    rebalance: Rebalance, moved_at: float, looked_at: float, world_changed_at: float, pause: float, now: float
) -> bool:
    """True if it is time to look for better targets for a healthy placement.

    It wants to move, its last move is long enough ago, and since it was last looked at, at least `pause` seconds ago,
    something changed.
    """
    if rebalance.type != "WhenBetter" or world_changed_at <= looked_at or now - looked_at < pause:
        return False
    return now - moved_at >= duration_seconds(rebalance.cooldown)

"""What the history of a decision tells. Pure."""

from collections.abc import Iterable

from shared.api import HistoryEntry
from shared.kube.times import seconds


def moved_at(history: Iterable[HistoryEntry]) -> float:
    """When a placement last left a target for another, in seconds since the epoch; 0 when its history knows of none.

    `history` begins with the newest change. To be placed at first, to grow or to shrink is no move.
    """
    moves = (entry for entry in history if set(entry.from_) - set(entry.to) and set(entry.to) - set(entry.from_))
    newest = next(moves, None)
    return seconds(newest.when) if newest is not None else 0.0

"""What is counted of the inventory, as it is now."""

from collections import Counter
from collections.abc import Iterable

from shared.model.target import Target

STATES = ("ready", "cordoned", "lost", "unready")


def states(targets: Iterable[Target]) -> dict[tuple[str, ...], float]:
    """How many targets are in each state, those that none is in as well."""
    found = Counter(map(_state, targets))
    return {(state,): found[state] for state in STATES}


def lost_for(targets: Iterable[Target], now: float) -> float:
    """Seconds for which the one has been lost that has been so longest."""
    return max((now - each.lost_since for each in targets if each.lost_since), default=0.0)


def _state(target: Target) -> str:
    if target.lost_since:
        return "lost"
    if not target.ready:
        return "unready"
    return "cordoned" if target.unschedulable else "ready"

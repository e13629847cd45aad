"""What is counted of the ledger, as it is now."""

from collections.abc import Iterable

from shared.model.decision import Reservation
from shared.model.resources import add
from shared.model.target import Target

SHOWN = ("cpu", "memory", "pods")


def reserved_ratio(targets: Iterable[Target], held: Iterable[tuple[str, Reservation]]) -> dict[tuple[str, ...], float]:
    """By resource: what placements reserve in ready targets, of what these have for them; 0 where they have none."""
    ready = {each.id: each for each in targets if each.ready}
    room = add(*(each.allocatable for each in ready.values()))
    others = add(*(each.allocated for each in ready.values()))
    taken = add(*(each.resources for target, each in held if target in ready))
    found: dict[tuple[str, ...], float] = {}
    for name in SHOWN:
        there = room.get(name, 0.0) - others.get(name, 0.0)
        found[name,] = taken.get(name, 0.0) / there if there > 0 else 0.0
    return found

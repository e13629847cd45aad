"""What is counted of a target with its pods: what others use, how much is free, how many placements there are. Pure."""

from typing import Any, NamedTuple

from shared.api import Quantity, SyncTarget
from shared.hub.quantities import amounts, quantities
from shared.model.resources import Resources, add, subtract
from shared.model.target import Target

_MI = 2**20


class Occupancy(NamedTuple):
    """How many placements have a reservation in a target, and how much is reserved there, for holds too."""

    placements: int
    reserved: Resources


def is_due(found: SyncTarget, *, counted: bool) -> bool:
    """Whether the SyncTarget is to be compared with what is known: with each count, and where it says nothing yet."""
    return counted or found.status.placements is None


def counted_patch(found: SyncTarget, target: Target, occupied: Occupancy | None) -> dict[str, Any] | None:
    """A merge patch that has the SyncTarget's status say what was counted; None where it says so already.

    Where pods cannot be counted, `allocated` is others'. `occupied` None: that is not known now, and what stands stays.
    """
    status: dict[str, Any] = {}
    if target.counted:
        status |= _changed("allocated", found.status.allocated, quantities(target.allocated))
    if occupied is not None:
        status |= _changed("free", found.status.free, _for_people(free(target, occupied)))
        if found.status.placements != occupied.placements:
            status["placements"] = occupied.placements
    return {"status": status} if status else None


def free(target: Target, occupied: Occupancy) -> Resources:
    """What is allocatable and neither others' nor reserved; at least 0."""
    left = subtract(target.allocatable, add(target.allocated, occupied.reserved))
    return {name: max(0.0, left[name]) for name in target.allocatable}


def _changed(field: str, present: dict[str, Quantity], wanted: dict[str, Quantity]) -> dict[str, Any]:
    if amounts(present) == amounts(wanted):
        return {}
    return {field: {**dict.fromkeys(present), **wanted}}


def _for_people(resources: Resources) -> dict[str, Quantity]:
    """Quantities as tables have them: bytes in whole mebibytes, rounded down."""
    found = quantities(resources)
    sizes = {name: amount for name, amount in resources.items() if name in ("memory", "ephemeral-storage")}
    return found | {name: f"{int(amount // _MI)}Mi" for name, amount in sizes.items()}

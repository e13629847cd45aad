"""Fit: what the placement asks for must be free in the target."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from shared.model.resources import TOLERANCE


def fit(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets where a resource is short of everything (Duplicated) or of one replica (where replicas are divided).

    Free is allocatable, less what others request, and less what this placement runs on every node; a resource that a
    target does not name is not there.
    """
    needed = {**dict.fromkeys(candidates.demand.on_every_node, 0.0), **candidates.demand.least}
    for resource, amount in sorted(needed.items()):
        if amount > 0 or resource in candidates.demand.on_every_node:
            free = candidates.free(resource) * (1 + TOLERANCE) + TOLERANCE
            yield Exclusion("InsufficientResources", f"insufficient {resource}", free < amount)

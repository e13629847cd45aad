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
    for resource in candidates.demands.needed:
        free = candidates.free(resource) * (1 + TOLERANCE) + TOLERANCE
        yield Exclusion("InsufficientResources", f"insufficient {resource}", free < candidates.demands.least(resource))

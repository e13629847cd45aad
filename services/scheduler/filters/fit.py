"""Fit: what the placement asks for must be free in the target."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round
from shared.model import TOLERANCE


def fit(round: Round) -> Iterator[Verdict]:
    """Targets where a resource is short of everything (Duplicated) or of one replica (where replicas are divided).

    Free is allocatable, less what others request; a resource that a target does not name is not there.
    """
    for resource, amount in sorted(round.demand.least.items()):
        if amount > 0:
            free = round.free(resource) * (1 + TOLERANCE) + TOLERANCE
            yield Verdict("InsufficientResources", f"insufficient {resource}", free < amount)

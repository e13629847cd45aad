"""Fit: what the placement asks for must be free in the target."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from services.scheduler.filters.lacking import lacking


def fit(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets where a resource is short of everything (Duplicated) or of one replica (where replicas are divided).

    Free is allocatable, less what others request, and less what this placement runs on every node; a resource that a
    target does not name is not there.
    """
    for resource in candidates.demands.needed:
        spare = candidates.spare(resource)
        needed = candidates.demands.least(resource)
        short = spare < needed
        if np.count_nonzero(short):
            detail = lacking(resource, needed, spare, short)
            yield Exclusion("InsufficientResources", f"insufficient {resource}", short, detail)

"""Quota: what the owner of a target lets the placements of a workspace reserve there together."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from shared.model.resources import TOLERANCE


def quota(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets where a quota leaves too little for everything (Duplicated) or one replica (where they are divided)."""
    for path in candidates.quotas:
        for resource in candidates.demands.needed:
            left = candidates.quota_left(path, resource) * (1 + TOLERANCE) + TOLERANCE
            message = f"insufficient {resource} quota of {path or 'all workspaces'}"
            yield Exclusion("QuotaExceeded", message, left < candidates.demands.least(resource))

"""Quota: what the owner of a target lets the placements of a workspace reserve there together."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from services.scheduler.filters.lacking import lacking
from shared.model.resources import with_tolerance


def quota(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets where a quota leaves too little for everything (Duplicated) or one replica (where they are divided)."""
    for path in candidates.quotas:
        for resource in candidates.demands.needed:
            left = with_tolerance(candidates.quota_left(path, resource))
            message = f"insufficient {resource} quota of {path or 'all workspaces'}"
            needed = candidates.demands.least(resource)
            short = left < needed
            yield Exclusion("QuotaExceeded", message, short, lacking(resource, needed, left, short))

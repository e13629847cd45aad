"""Unschedulable: targets that take nothing new. What runs there already may stay."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def unschedulable(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets with `unschedulable`, unless the placement is there already."""
    yield Exclusion("Unschedulable", "unschedulable", candidates.values("unschedulable") & ~candidates.previous)

"""Unschedulable: targets that take nothing new. What runs there already may stay."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.verdict import Verdict


def unschedulable(candidates: Candidates) -> Iterator[Verdict]:
    """Targets with `unschedulable`, unless the placement is there already."""
    yield Verdict("Unschedulable", "unschedulable", candidates.values("unschedulable") & ~candidates.previous)

"""Unschedulable: targets that take nothing new. What runs there already may stay."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def unschedulable(round: Round) -> Iterator[Verdict]:
    """Targets with `unschedulable`, unless the placement is there already."""
    yield Verdict("Unschedulable", "unschedulable", round.values("unschedulable") & ~round.previous)

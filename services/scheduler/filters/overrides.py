"""Overrides: what they make of the workload must be something that can be applied, and must have been counted."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def overrides(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets for which the overrides make no objects that can be placed, or for which nobody counted them."""
    which, variants = candidates.demands.which, candidates.request.variants
    if which is None:
        return
    for number, each in enumerate(variants, 1):
        if each.error:
            yield Exclusion("OverridesUnfit", f"cannot have it: {each.error}", which == number)
    yield Exclusion("OverridesUnfit", "with overrides that were not counted", (which == 0) & (candidates.holding != 0))

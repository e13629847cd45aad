"""Required affinity: at least one of the terms must hold on the target's labels."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def required_affinity(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets that satisfy none of the required terms, as core/v1 NodeSelector: terms are ORed, conditions ANDed."""
    terms = candidates.spec.affinity.required
    if terms:
        yield Exclusion("AffinityUnsatisfied", "not matching the required affinity", ~candidates.any_of(terms))

"""Required affinity: at least one of the terms must hold on the target's labels."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def required_affinity(round: Round) -> Iterator[Verdict]:
    """Targets that satisfy none of the required terms, as core/v1 NodeSelector: terms are ORed, conditions ANDed."""
    terms = round.spec.affinity.required
    if terms:
        yield Verdict("AffinityUnsatisfied", "not matching the required affinity", ~round.any_of(terms))

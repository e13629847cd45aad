"""Topology: a target without the label belongs to no domain, and cannot take part in a spread that is a must."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def topology(round: Round) -> Iterator[Verdict]:
    """Targets without the label of a spread constraint with DoNotSchedule."""
    for constraint in round.spec.spread:
        if constraint.when_unsatisfiable == "DoNotSchedule":
            key = constraint.topology_key
            yield Verdict("NoTopology", f"without label {key}", round.has("label", None, key))

"""Topology: a target without the label belongs to no domain, and cannot take part in a spread that is a must."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def topology(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets without the label of a spread constraint with DoNotSchedule."""
    for constraint in candidates.spec.spread:
        if constraint.when_unsatisfiable == "DoNotSchedule":
            key = constraint.topology_key
            yield Exclusion("NoTopology", f"without label {key}", candidates.has("label", None, key))

"""Spread constraints, and the domains that candidates lie in under each. Pure."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.ranking import Refused
from services.scheduler.selection import Domains
from shared.api import SpreadConstraint
from shared.columns import Ints
from shared.model.reasons import RefusalCode


def constraints_of(candidates: Candidates) -> tuple[SpreadConstraint, ...]:
    """The Placement's spread constraints; the strategy Spread has a wish of its own where there is none."""
    if candidates.spec.spread or candidates.spec.strategy.type != "Spread":
        return candidates.spec.spread
    return (SpreadConstraint(topology_key=candidates.settings.spread_key, when_unsatisfiable="ScheduleAnyway"),)


def domains_of(candidates: Candidates, ranked: Ints, constraint: SpreadConstraint, most: int) -> Domains:
    """Domains of one constraint, numbered without gaps over those that a ranked target lies in."""
    key = constraint.topology_key
    if len(ranked) == len(candidates):  # all of them, in whichever order
        of, count = candidates.alike(("domains", key), lambda: _numbered(candidates, ranked, key))
    else:
        of, count = _numbered(candidates, ranked, key)
    must = constraint.when_unsatisfiable == "DoNotSchedule"
    least = constraint.min_domains or 1
    allowed = constraint.max_domains or least
    if must and least > min(count, most, allowed):
        there = f"at most {allowed}" if least > allowed else f"at most {targets_are(most)} taken"
        there = f"{count} {'has' if count == 1 else 'have'} a target that fits" if least > count else there
        raise Refused(RefusalCode.CONTRADICTION, f"at least {least} domains of {key} are wanted, {there}")
    return Domains(of, count, constraint.max_skew, min(least, count), constraint.max_domains, must, key)


def _numbered(candidates: Candidates, ranked: Ints, key: str) -> tuple[Ints, int]:
    """The domain of each candidate under a label, and how many there are; without the label, that number itself."""
    column = candidates.snapshot.codes("label", key)
    codes = column.values[candidates.index]
    present = np.zeros(len(column.distinct), np.bool_)
    present[codes[ranked]] = True
    labelled = present & ~column.among((None,))
    count = int(np.count_nonzero(labelled))
    return np.where(labelled, labelled.cumsum() - 1, count)[codes], count


def targets_are(count: int) -> str:
    """`1 target is`, `2 targets are`."""
    return "1 target is" if count == 1 else f"{count} targets are"

"""Affinity: preferred terms, and taints that discourage."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, number
from shared.api import tolerates
from shared.columns import Floats


def affinity(candidates: Candidates, args: Args) -> Floats | None:
    """100 · weight of the preferred terms that hold / weight of all, less `taintPenalty` per PreferNoSchedule taint.

    Without preferred terms a target begins at 100. Abstains where there are neither terms nor such taints.
    """
    penalty = number(args, "taintPenalty", candidates.settings.taint_penalty)
    discouraging = _untolerated(candidates)
    terms = candidates.spec.affinity.preferred
    if not terms and discouraging is None:
        return None
    total = sum(term.weight for term in terms)
    points: Floats = np.zeros(len(candidates)) if terms else np.full(len(candidates), 100.0)
    for term in terms:
        points += candidates.satisfied(term.match_expressions) * (100.0 * term.weight / total)
    return points if discouraging is None else points - penalty * discouraging


def _untolerated(candidates: Candidates) -> Floats | None:
    """How many PreferNoSchedule taints of each target nothing tolerates; None where there are none at all."""
    column = candidates.snapshot.codes("taints")
    tolerations = candidates.spec.targets.tolerations
    counts = [
        sum(
            taint.effect == "PreferNoSchedule" and not any(tolerates(each, taint) for each in tolerations)
            for taint in taints
        )
        for taints in column.distinct
    ]
    if not any(counts):
        return None
    found: Floats = np.array(counts, np.float64)[column.values[candidates.index]]
    return found if found.any() else None

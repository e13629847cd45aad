"""Affinity: preferred terms, and taints that discourage."""

import numpy as np

from services.scheduler.round import Round
from services.scheduler.scorers.scorer import Args, number
from services.scheduler.snapshot import Floats
from shared.api import tolerates


def affinity(round: Round, args: Args) -> Floats | None:
    """100 · weight of the preferred terms that hold / weight of all, less `taintPenalty` per PreferNoSchedule taint.

    Without preferred terms a target begins at 100. Abstains where there are neither terms nor such taints.
    """
    penalty = number(args, "taintPenalty", round.settings.taint_penalty)
    discouraging = _untolerated(round)
    terms = round.spec.affinity.preferred
    if not terms and not discouraging.any():
        return None
    total = sum(term.weight for term in terms)
    points: Floats = np.zeros(len(round)) if terms else np.full(len(round), 100.0)
    for term in terms:
        points = points + round.satisfied(term.match_expressions) * (100.0 * term.weight / total)
    return points - penalty * discouraging


def _untolerated(round: Round) -> Floats:
    """How many PreferNoSchedule taints of each target nothing tolerates."""
    column = round.snapshot.codes("taints")
    tolerations = round.spec.targets.tolerations
    counts = [
        sum(
            taint.effect == "PreferNoSchedule" and not any(tolerates(each, taint) for each in tolerations)
            for taint in taints
        )
        for taints in column.distinct
    ]
    return np.array(counts or [0], np.float64)[column.data[round.index]]

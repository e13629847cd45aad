"""What would do where nothing fits: how many targets more, and what each of them must have room for."""

from bisect import bisect_left
from itertools import accumulate

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.ranking import Ranking
from shared.columns import Ints
from shared.model.decision import Shortfall
from shared.model.reasons import RefusalCode

MORE_WOULD_DO = frozenset(
    {RefusalCode.NO_FEASIBLE_TARGET, RefusalCode.TOO_FEW_TARGETS, RefusalCode.INSUFFICIENT_CAPACITY}
)
"""Refusals against which more targets help. What contradicts itself, or is invalid, no target mends."""


def missing(
    code: str, candidates: Candidates, feasible: Candidates | None, ranking: Ranking | None
) -> Shortfall | None:
    """The fewest targets that would do beside those that fit, each with room for the same; None where none would.

    `feasible` are those of the `candidates` that passed the filters, as far as it came to that. Where the Placement has
    tiers, one of which takes all or nothing, it is as if none of them fitted. How the new targets would have to lie
    under a spread, and what they would score, is not foreseen.
    """
    if code not in MORE_WOULD_DO:
        return None
    spec, demand = candidates.spec, candidates.demands.base
    fitting = np.zeros(0, np.intp)
    if feasible is not None and ranking is not None and not spec.affinity.tiers:
        fitting = _rooms(feasible)[ranking.totals >= spec.strategy.minimum_score]
    musts = [each.min_domains or 1 for each in spec.spread if each.when_unsatisfiable == "DoNotSchedule"]
    least, most = spec.targets.bounds(len(fitting) + 1)
    fewest = max(least, *musts, 1)
    fewest_new = max(fewest - len(fitting), 1)
    replicas = candidates.demands.divided
    if replicas is None:
        return Shortfall(targets=fewest_new, resources=demand.reserve(None, 1.0))
    if replicas < fewest * demand.at_least:
        return None
    most = min(replicas // demand.at_least, replicas if most is None else most)
    roomiest = [0, *accumulate(sorted(fitting.tolist(), reverse=True))]

    def each_of(new: int) -> int:
        """How many replicas so many new targets must each have room for, beside the roomiest of those that fit."""
        beside = min(len(fitting), most - new)
        return max(-(-(replicas - roomiest[beside]) // new), demand.at_least)

    bound = spec.replicas.max_per_target or replicas
    new = bisect_left(range(most + 1), True, lo=fewest_new, key=lambda new: each_of(new) <= bound)
    if new > most:
        return None
    return Shortfall(targets=new, replicas=each_of(new), resources=demand.reserve(each_of(new), 1.0))


def _rooms(feasible: Candidates) -> Ints:
    """How many replicas each has room for, as far as the Placement lets it have them; 0 where nothing is divided."""
    demands, spec = feasible.demands, feasible.spec
    if demands.divided is None:
        return np.zeros(len(feasible), np.intp)
    rooms = np.maximum(demands.capacity(feasible.room, len(feasible)), demands.base.at_least)
    return rooms if spec.replicas.max_per_target is None else np.minimum(rooms, spec.replicas.max_per_target)

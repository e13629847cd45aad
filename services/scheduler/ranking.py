"""Scores of all feasible targets: raw per scorer, clamped, weighted, combined with the policy's, and ranked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scheduler.candidates import Candidates
from services.scheduler.scorers import BY_AMOUNTS, BY_FACTS, KNOWN, SCORERS, BadArguments, find
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import stable_hash
from shared.api import ScorerWeight
from shared.columns import Bools, Floats, Ints
from shared.model.decision import Refusal, Score
from shared.model.reasons import RefusalCode, Stage
from shared.model.request import Request

POLICY = "Policy"
STEADY = "Steady"
OVERRIDE = "Override"
NEUTRAL = 50.0
"""The total where no scorer has anything to say."""
DOMINANCE = 100.0
"""How many times the first outweighs the second, in PolicyFirst and SchedulerFirst."""
MOST_SCORE = np.uint64((1 << 28) - 1)
"""Above any score that is ranked, in millionths of a point."""
HASHED, DROPPED, NOT_KEPT = np.uint64(35), np.uint64(29), np.uint64(1 << 63)
"""Of a sort key: bits below the score, bits of the hash that have no room there, and the bit that comes first."""
FEW = 1000
"""Targets of which seldom two score the same to a millionth of a point."""
MOST_STICKY = 1e-4
"""Of 100 points, what staying leaves to all other scorers at least: by these, equals are told apart."""
GRAIN = 1e6
"""Totals that agree to a millionth of a point are equal, so that rounding never decides."""

Hashes = NDArray[np.uint64]


class Refused(Exception):
    """The request cannot be scheduled as it is written; carries the refusal."""

    def __init__(self, code: str, message: str, stage: str = Stage.SCHEDULER) -> None:
        super().__init__(message)
        self.refusal = Refusal(code=code, message=message, stage=stage)


class Part(NamedTuple):
    """One scorer's points for all feasible targets, NaN where it knows nothing, and its weight (or one for each)."""

    name: str
    points: Floats
    weight: float | Floats


@dataclass(frozen=True)
class Ranking:
    """Totals and what they are made of: `weights[i, t]` is 0 where part i does not count for target t."""

    names: tuple[str, ...]
    points: Floats
    weights: Floats
    besides: Floats | None = None
    """Points that an operator's override adds to a total, or takes from it; None where there is none."""

    @cached_property
    def weight(self) -> Floats:
        """Sum of weights per target."""
        total: Floats = self.weights.sum(axis=0)
        return total

    @cached_property
    def totals(self) -> Floats:
        """Σ points · weight / Σ weight, to a millionth of a point."""
        mean = (self.points * self.weights).sum(axis=0)
        weight = self.weight
        scored = weight > 0
        if np.count_nonzero(scored) == len(scored):
            mean /= weight
        else:
            mean = np.where(scored, mean / np.where(scored, weight, 1.0), NEUTRAL)
        if self.besides is not None:
            mean = np.clip(mean + self.besides, 0.0, 100.0)
        return np.asarray(np.rint(mean * GRAIN) / GRAIN, np.float64)

    def breakdowns(self, positions: Ints) -> list[dict[str, Score]]:
        """The parts of the totals of some targets, one target after the other."""
        points, weights = self.points.take(positions, axis=1), self.weights.take(positions, axis=1)
        total = self.weight.take(positions)
        weighted = points * weights / np.where(total > 0, total, 1.0)
        found: list[dict[str, Score]] = [{} for _ in range(len(positions))]
        for row, name in enumerate(self.names):
            counting = np.count_nonzero(weights[row])
            if not counting:
                continue
            everywhere = counting == len(positions)
            scores = map(Score, points[row].tolist(), weights[row].tolist(), weighted[row].tolist())
            for breakdown, score in zip(found, scores, strict=True):
                if everywhere or score.weight > 0:
                    breakdown[name] = score
        if self.besides is not None:
            for breakdown, points, total in zip(
                found, self.besides[positions].tolist(), self.totals[positions].tolist(), strict=True
            ):
                if points:
                    before = sum(each.weighted for each in breakdown.values()) if breakdown else NEUTRAL
                    breakdown[OVERRIDE] = Score(raw=points, weight=1.0, weighted=total - before)
        return found


UNLESS_LISTED = tuple(ScorerWeight(name=name) for name in ("Resource", "Affinity", "Load", "Latency"))
"""Scorers that take part where a Placement lists none."""

Wanted = list[tuple[ScorerWeight, float]]
"""Scorers that take part, with their weights."""


def wanted(request: Request, settings: SchedulerSettings) -> Wanted:
    """Scorers that take part, with their weights. Raises `Refused` for a name that there is none of."""
    listed = request.spec.strategy.scorers
    for each in listed:
        if find(each.name) is None:
            raise Refused(RefusalCode.UNKNOWN_SCORER, f"unknown scorer {each.name}; known are {', '.join(KNOWN)}")
    defaults = {
        "Resource": settings.resource_weight,
        "Affinity": settings.affinity_weight,
        "Load": settings.load_weight,
        "Latency": settings.latency_weight,
    }
    chosen = listed or UNLESS_LISTED
    return [(each, defaults.get(each.name, 100.0) if each.weight is None else each.weight) for each in chosen]


def rank(candidates: Candidates, scorers: Wanted, policy: Floats | None, policy_weight: float) -> Ranking:
    """Ask every scorer. Raises `Refused` for arguments that one cannot use."""
    parts = []
    for scorer, weight in scorers:
        if weight == 0:
            continue
        try:
            points = _points(candidates, scorer)
        except BadArguments as error:
            raise Refused(RefusalCode.INVALID_SCORER, f"scorer {scorer.name}: {error}") from None
        if points is not None:  # below 0, what it likes least is liked best
            liked = points if weight > 0 else 100.0 - np.clip(points, 0.0, 100.0)
            parts.append(Part(scorer.name, liked, abs(weight)))
    combined = candidates.spec.strategy.combine
    stickiness = candidates.spec.stability.stickiness
    staying = SCORERS[STEADY](candidates, {})
    if stickiness > 0 and staying is not None and all(scorer.name != STEADY for scorer, _ in scorers):
        beside = policy_weight if policy is not None and combined == "Weighted" else 0.0
        parts.append(Part(STEADY, staying, _worth(stickiness, parts, beside)))
    return combine(parts, policy, combined, policy_weight, len(candidates))


def _points(candidates: Candidates, scorer: ScorerWeight) -> Floats | None:
    """What a scorer says; None where it has nothing to say."""
    ask = find(scorer.name)
    if ask is None:
        return None
    if scorer.name in BY_FACTS:
        return candidates.alike(("scorer", scorer.name), lambda: ask(candidates, scorer.args))
    if scorer.name in BY_AMOUNTS:
        return candidates.same(("scorer", scorer.name), lambda: ask(candidates, scorer.args))
    return ask(candidates, scorer.args)


def _worth(points: float, others: Sequence[Part], beside: float) -> Floats | float:
    """The weight beside others (and `beside`) that makes 100 points of one scorer that many points of the total.

    One for each target, since a scorer does not count for a target that it knows nothing of.
    """
    rest = sum((~np.isnan(other.points) * other.weight for other in others), start=beside)
    return np.maximum(rest, 1.0) * points / max(100.0 - points, MOST_STICKY)


def combine(parts: Sequence[Part], policy: Floats | None, how: str, policy_weight: float, targets: int) -> Ranking:
    """Clamp, weigh, and give the policy's score its weight beside the W of the scorers.

    Weighted: the setting. PolicyFirst: 100·W. SchedulerFirst: W/100. Consensus: whichever likes the target less
    speaks alone, so that a target is as good as both find it.
    """
    if policy is not None:
        parts = [*parts, Part(POLICY, np.fmax(policy, 0.0), policy_weight)]  # of NaN and 0, fmax takes 0
    names = tuple(part.name for part in parts)
    points, weights = np.empty((2, len(parts), targets))
    for row, part in enumerate(parts):
        points[row] = part.points
        weights[row] = part.weight
    unknown = np.isnan(points)
    if np.count_nonzero(unknown):
        points[unknown] = weights[unknown] = 0.0
    np.minimum(np.maximum(points, 0.0, out=points), 100.0, out=points)
    if policy is not None and how != "Weighted":
        _weigh_policy(how, weights, points[-1], Ranking(names[:-1], points[:-1], weights[:-1]))
    return Ranking(names, points, weights)


def _weigh_policy(how: str, weights: Floats, liked: Floats, scorers: Ranking) -> None:
    """Bring the policy's weights, which are the last of `weights`, into proportion with those of the scorers."""
    alone = scorers.weight == 0.0
    match how:
        case "PolicyFirst":
            weights[-1] = np.where(alone, 1.0, DOMINANCE * scorers.weight)
        case "SchedulerFirst":
            weights[-1] = np.where(alone, 1.0, scorers.weight / DOMINANCE)
        case "Consensus":
            likes_less = alone | (liked < scorers.totals)
            weights *= ~likes_less
            weights[-1] = likes_less


def order(candidates: Candidates, totals: Floats, kept: Bools, bonus: float) -> Ints:
    """Positions, best first: the kept, then by total (with `bonus` points where the placement runs), then by hash.

    The tie-break is a rendezvous hash of placement and target: ties spread over targets from placement to placement,
    and stay put from attempt to attempt.
    """
    # A grain less than the bonus, so that a move that gains just that much is one, and no hash decides.
    worth = totals + (bonus - 1.0 / GRAIN) * candidates.previous if bonus else totals
    score = np.rint(worth * GRAIN).astype(np.uint64)
    # One sort key in 64 bits: whether it is kept, 28 bits of score (at most 200 points), and as much of the hash as
    # there is room for. Where that much is not enough to tell two apart, the slower sort by all of it decides.
    packed = (MOST_SCORE - score) << HASHED
    if np.count_nonzero(kept):
        packed |= ~kept * NOT_KEPT
    if len(packed) <= FEW and (best_first := _told_apart(packed)) is not None:
        return best_first  # as a rule few targets all score otherwise, and nobody has to be asked for the hash
    ties = _rendezvous(candidates)
    packed |= ties >> DROPPED
    best_first = _told_apart(packed)
    return np.lexsort((ties, ~score, ~kept)) if best_first is None else best_first


def _told_apart(keys: Hashes) -> Ints | None:
    """Positions in the order of their keys; None where two have the same."""
    ascending = keys.argsort()
    in_order = keys[ascending]
    return None if np.count_nonzero(in_order[1:] == in_order[:-1]) else ascending


def staying_on(candidates: Candidates, totals: Floats) -> Bools:
    """The targets that a placement stays on though it may move: none, but where it has a budget: then all but the worst
    of them, of which it may leave as many as the budget is beside those that it is leaving anyway."""
    budget = candidates.spec.stability.disruption_budget
    previous = candidates.previous
    if budget is None:
        return np.zeros(len(candidates), np.bool_)
    request = candidates.request
    chosen = {each.target for each in request.previous}
    left = {*chosen, *request.bound, *request.leaving} - set(candidates.some("id", previous))
    free = max(budget - len(left), 0)
    (there,) = previous.nonzero()
    worst = there[np.lexsort((_rendezvous(candidates)[there], -totals[there]))][::-1][:free]
    kept = previous.copy()
    kept[worst] = False
    return kept


def _rendezvous(candidates: Candidates) -> Hashes:
    """Mix of two hashes, after splitmix64's finalizer."""
    placement = candidates.request.placement
    seed = stable_hash(candidates.request.head.uid or str(placement))
    mixed: Hashes = candidates.values("hash") ^ np.uint64(seed)
    mixed ^= mixed >> 30
    mixed *= 0xBF58476D1CE4E5B9
    mixed ^= mixed >> 27
    mixed *= 0x94D049BB133111EB
    mixed ^= mixed >> 31
    return mixed

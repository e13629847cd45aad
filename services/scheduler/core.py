"""One decision of the scheduler, from values to values: filter, score, select, divide."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.scheduler.candidates import Candidates, PluginAnswers
from services.scheduler.division import divide
from services.scheduler.filters import FILTERS, Exclusion
from services.scheduler.ranking import Ranking, Refused, Wanted, order, rank, wanted
from services.scheduler.selection import Contest, Domains
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from services.scheduler.strategies import STRATEGIES
from services.scheduler.tiers import tiers
from shared.api import SpreadConstraint
from shared.columns import Bools, Floats, Ints
from shared.model.decision import Choice, Proposal, Refusal, Rejection
from shared.model.reasons import RefusalCode, RejectionCode, Stage, last_stage, sentence
from shared.model.request import Request

MOST_ALTERNATES = 32


@dataclass(frozen=True)
class Outcome:
    """A proposal, and all that it was made from, as far as it got, for whoever wants it explained."""

    proposal: Proposal
    rejections: tuple[Rejection, ...] = ()
    candidates: Candidates | None = None
    exclusions: tuple[tuple[str, Exclusion], ...] = ()
    """Filter by filter what was excluded; unlike `rejections`, a target is under every reason that it has."""
    feasible: Candidates | None = None
    ranking: Ranking | None = None

    def scores(self) -> Iterator[Choice]:
        """All feasible targets with their breakdown, best first, without replicas."""
        if self.feasible is None or self.ranking is None:
            return
        best_first = np.lexsort((self.feasible.values("id").astype(str), -self.ranking.totals))
        ids, totals = self.feasible.some("id", best_first), self.ranking.totals[best_first]
        breakdowns = self.ranking.breakdowns(best_first)
        for target, score, breakdown in zip(ids, totals.tolist(), breakdowns, strict=True):
            yield Choice(target=target, score=score, breakdown=breakdown)


@dataclass
class _Draft:
    """A proposal in the making: all that is worked out so far. A refusal may end it at any step."""

    request: Request
    settings: SchedulerSettings
    upstream: tuple[Rejection, ...]
    considered: int
    rejections: list[Rejection] = field(default_factory=list)
    exclusions: list[tuple[str, Exclusion]] = field(default_factory=list)
    candidates: Candidates | None = None
    feasible: Candidates | None = None
    ranking: Ranking | None = None
    tier: str = ""

    def reject(self, candidates: Candidates, reason: str, message: str, excluded: Bools) -> None:
        """Note under one reason the candidates that it excludes."""
        ids = tuple(candidates.some("id", excluded))
        if ids:
            rejection = Rejection(stage=Stage.SCHEDULER, reason=reason, message=message, targets=ids)
            self.rejections.append(rejection)

    def reasons(self, fit: int = 0) -> str:
        """The sentence that counts all reasons of all stages."""
        return sentence(self.considered, (*self.upstream, *self.rejections), fit)

    def unfeasible(self) -> Refused:
        """The refusal where every target fell out, on account of the last stage that had any to reject."""
        stage = last_stage((*self.upstream, *self.rejections))
        return Refused(RefusalCode.NO_FEASIBLE_TARGET, self.reasons(), stage)

    def outcome(self, proposal: Proposal) -> Outcome:
        return Outcome(
            proposal, tuple(self.rejections), self.candidates, tuple(self.exclusions), self.feasible, self.ranking
        )


def schedule(
    request: Request,
    snapshot: Snapshot,
    targets: Sequence[str],
    *,
    now: float,
    settings: SchedulerSettings,
    policy_scores: Sequence[float] = (),
    upstream: tuple[Rejection, ...] = (),
    plugin_answers: PluginAnswers | None = None,
) -> Outcome:
    """Propose targets for a request among the candidates `targets`.

    `policy_scores` holds one score per candidate, or none at all. `upstream` is what earlier stages rejected: it is
    not repeated in the outcome, but counted in the sentence of a refusal. `plugin_answers` says what plugins
    think of the candidates.

    Nothing is refused for capacity that is only assumed to be taken, since that may come to nothing: then the targets
    are proposed as if nothing were assumed, and decision settles who gets them.
    """
    considered = len(targets) + sum(rejection.count for rejection in upstream)

    def outcome(assuming: bool) -> Outcome:
        draft = _Draft(request, settings, upstream, considered)
        try:
            scorers = wanted(request, settings)
            candidates, policy = _present(
                draft, snapshot, targets, policy_scores, now, plugin_answers or {}, assuming=assuming
            )
            proposal = _propose(draft, candidates, policy, scorers)
        except Refused as refused:
            proposal = Proposal(strategy=request.spec.strategy.type, refusal=refused.refusal)
        return draft.outcome(proposal)

    found = outcome(assuming=True)
    return outcome(assuming=False) if found.proposal.refusal and snapshot.taken.assumed_in else found


def _present(
    draft: _Draft,
    snapshot: Snapshot,
    targets: Sequence[str],
    policy_scores: Sequence[float],
    now: float,
    plugin_answers: PluginAnswers,
    *,
    assuming: bool,
) -> tuple[Candidates, Floats | None]:
    """The candidates that the inventory still has, and their policy scores."""
    rows = snapshot.locate(targets)
    policy = np.array(policy_scores, np.float64) if len(policy_scores) else None
    if (rows < 0).any():
        gone = tuple(target for target, row in zip(targets, rows.tolist(), strict=True) if row < 0)
        code, words = RejectionCode.TARGET_GONE, "gone from the inventory"
        draft.rejections.append(Rejection(stage=Stage.SCHEDULER, reason=code, message=words, targets=gone))
        policy = None if policy is None else policy[rows >= 0]
        plugin_answers = {key: column[rows >= 0] for key, column in plugin_answers.items()}
        rows = rows[rows >= 0]
    draft.candidates = Candidates(draft.request, snapshot, rows, draft.settings, now, plugin_answers, assuming=assuming)
    return draft.candidates, policy


def _propose(draft: _Draft, candidates: Candidates, policy: Floats | None, scorers: Wanted) -> Proposal:
    """The first tier that can take the whole placement does; without tiers, all that the filters left over."""
    kept = _filter(draft, candidates)
    if not candidates.spec.affinity.tiers or not kept.any():
        return _within(draft, candidates, kept, policy, scorers)
    said, code, before = [], "", len(draft.rejections)
    for tier in tiers(candidates, kept):
        draft.tier = tier.name
        draft.reject(candidates, RejectionCode.OTHER_TIER, f"not in tier {tier.name}", kept & ~tier.members)
        try:
            return _within(draft, candidates, kept & tier.members, policy, scorers)
        except Refused as refused:
            code = refused.refusal.code
            if code == RefusalCode.INVALID_SCORER:
                raise
            said.append(f"{tier.name}: {refused.refusal.message}")
            del draft.rejections[before:]
    raise Refused(code, f"no tier can take it: {'; '.join(said)}")


def _within(draft: _Draft, candidates: Candidates, kept: Bools, policy: Floats | None, scorers: Wanted) -> Proposal:
    """Score, select and divide among the candidates that are kept."""
    if not np.count_nonzero(kept):
        raise draft.unfeasible()
    spec = draft.request.spec
    feasible = draft.feasible = candidates.only(kept)
    ranking = draft.ranking = rank(
        feasible, scorers, None if policy is None else policy[kept], draft.settings.policy_weight
    )
    good = ranking.totals >= spec.strategy.minimum_score
    if not good.all():
        draft.reject(feasible, RejectionCode.LOW_SCORE, "below the minimum score", ~good)
        if not good.any():
            raise draft.unfeasible()
    contest = _contest(draft, feasible, ranking.totals, good)
    taken = _take(feasible, contest)
    choices = _choices(draft, feasible, ranking, contest, taken)
    selected, alternates = choices[: len(taken)], choices[len(taken) :]
    return Proposal(strategy=spec.strategy.type, selected=selected, alternates=alternates, feasible=len(contest.order))


def _filter(draft: _Draft, candidates: Candidates) -> Bools:
    """Ask every filter; a candidate counts under the first exclusion that names it."""
    kept = np.ones(len(candidates), np.bool_)
    for name, judge in FILTERS.items():
        for exclusion in judge(candidates):
            if np.count_nonzero(exclusion.excluded):  # on few targets, several times as fast as any()
                draft.exclusions.append((name, exclusion))
                draft.reject(candidates, exclusion.reason, exclusion.message, exclusion.excluded & kept)
                kept &= ~exclusion.excluded
    return kept


def _contest(draft: _Draft, feasible: Candidates, totals: Floats, good: Bools) -> Contest:
    """What the strategy chooses from. Raises `Refused` for constraints that no choice can meet."""
    spec = feasible.spec
    moves = feasible.moves
    kept = np.zeros(len(feasible), np.bool_) if moves else feasible.previous
    ranked = order(feasible, totals, kept, spec.stability.rebalance.by if moves else 0.0)
    if not good.all():
        ranked = ranked[good[ranked]]
    fewest, most = spec.targets.bounds(len(ranked))
    if most is not None and fewest > most:
        raise Refused(RefusalCode.CONTRADICTION, f"at least {fewest} and at most {most} targets are wanted")
    most = len(ranked) if most is None else min(most, len(ranked))
    replicas, least = feasible.demands.divided, feasible.demands.base.at_least
    if replicas is not None:
        if replicas < fewest * least:
            each = f", at least {least} in each" if least > 1 else ""
            many = "replica" if replicas == 1 else "replicas"
            raise Refused(RefusalCode.CONTRADICTION, f"{_targets_are(fewest)} wanted for {replicas} {many}{each}")
        most = min(most, replicas // least)
    if len(ranked) < fewest:
        why = f"; {draft.reasons(fit=len(ranked))}" if len(ranked) < draft.considered else ""
        raise Refused(RefusalCode.TOO_FEW_TARGETS, f"{_targets_are(fewest)} wanted, {len(ranked)} fit{why}")
    domains = tuple(_domains(feasible, ranked, constraint, most) for constraint in _constraints(feasible))
    fewest = max([fewest, *(each.min_domains for each in domains if each.must)])
    capacity = np.zeros(len(feasible), np.intp)
    if replicas is not None:
        room = feasible.demands.capacity(feasible.room, len(feasible))
        # Fit and Quota saw to it that the least fits.
        capacity = room.clip(least, spec.replicas.max_per_target or replicas)
    return Contest(ranked, int(np.count_nonzero(kept & good)), domains, fewest, max(most, fewest), capacity, replicas)


def _constraints(candidates: Candidates) -> tuple[SpreadConstraint, ...]:
    """The Placement's spread constraints; the strategy Spread has a wish of its own where there is none."""
    if candidates.spec.spread or candidates.spec.strategy.type != "Spread":
        return candidates.spec.spread
    return (SpreadConstraint(topology_key=candidates.settings.spread_key, when_unsatisfiable="ScheduleAnyway"),)


def _domains(candidates: Candidates, ranked: Ints, constraint: SpreadConstraint, most: int) -> Domains:
    """Domains of one constraint, numbered without gaps over those that a ranked target lies in."""
    column = candidates.snapshot.codes("label", constraint.topology_key)
    codes = column.values[candidates.index]
    present = np.zeros(len(column.distinct), np.bool_)
    present[codes[ranked]] = True
    count = int(np.count_nonzero(present))
    must = constraint.when_unsatisfiable == "DoNotSchedule"
    least = constraint.min_domains or 1
    key, allowed = constraint.topology_key, constraint.max_domains or least
    if must and least > min(count, most, allowed):
        there = f"at most {allowed}" if least > allowed else f"at most {_targets_are(most)} taken"
        there = f"{count} {'has' if count == 1 else 'have'} a target that fits" if least > count else there
        raise Refused(RefusalCode.CONTRADICTION, f"at least {least} domains of {key} are wanted, {there}")
    numbers = present.cumsum() - 1
    return Domains(numbers[codes], count, constraint.max_skew, min(least, count), constraint.max_domains, must)


def _take(feasible: Candidates, contest: Contest) -> Ints:
    """What the strategy takes. Raises `Refused` where topology or capacity leave too few."""
    spec = feasible.spec
    name = "Binpack" if spec.replicas.division == "Aggregated" and contest.replicas else spec.strategy.type
    taken = STRATEGIES[name](contest)
    if len(taken) < contest.fewest:
        raise Refused(
            RefusalCode.TOO_FEW_TARGETS,
            f"{_targets_are(contest.fewest)} wanted; {len(contest.order)} fit, "
            f"and the spread constraints allow {len(taken)} of them",
        )
    if not contest.enough(taken):
        room = int(contest.capacity[taken].sum())
        within = " within their quotas" if feasible.quotas else ""
        roomiest = (
            f"the {len(taken)} targets with most room have" if len(taken) > 1 else "the target with most room has"
        )
        raise Refused(
            RefusalCode.INSUFFICIENT_CAPACITY,
            f"{contest.replicas} replicas are wanted; {roomiest} room for {room}{within}",
        )
    return taken


def _choices(
    draft: _Draft, feasible: Candidates, ranking: Ranking, contest: Contest, taken: Ints
) -> tuple[Choice, ...]:
    """Selected targets with their replicas, and after them those that come next."""
    wanted_alternates = min(max(len(taken), draft.settings.alternates), MOST_ALTERNATES)
    is_taken = np.zeros(len(feasible), np.bool_)
    is_taken[taken] = True
    first = contest.order[: len(taken) + wanted_alternates]
    others = first[~is_taken[first]][:wanted_alternates]
    positions = np.concatenate([taken, others])
    demands = [feasible.demands.at(position) for position in positions.tolist()]
    if contest.replicas:
        shares = divide(feasible, taken, contest.capacity)
        spare = [min(max(shares), room) for room in contest.capacity[others].tolist()]
        replicas: list[int | None] = [*shares, *spare]
    else:
        replicas = [demand.replicas if demand.uniform else None for demand in demands]
    places = np.zeros(len(feasible), np.intp)
    places[contest.order] = np.arange(1, len(contest.order) + 1)
    tier = f" in tier {draft.tier}" if draft.tier else ""
    return tuple(
        Choice(
            target=target,
            score=score,
            breakdown=breakdown,
            replicas=count,
            overrides=overrides,
            reserve=demand.reserve(count, nodes),
            reason=f"{'runs there already, ' if stays else ''}ranked {place} of {len(contest.order)}{tier}",
        )
        for target, score, breakdown, count, stays, place, nodes, demand, overrides in zip(
            feasible.some("id", positions),
            ranking.totals[positions].tolist(),
            ranking.breakdowns(positions),
            replicas,
            feasible.previous[positions].tolist(),
            places[positions].tolist(),
            feasible.some("nodes", positions),
            demands,
            map(feasible.overrides_at, positions.tolist()),
            strict=True,
        )
    )


def _targets_are(count: int) -> str:
    return "1 target is" if count == 1 else f"{count} targets are"


def refusal_of(request: Request, error: str) -> Refusal | None:
    """The refusal of what earlier stages found to be wrong with the request itself, or None."""
    if request.error:
        return Refusal(stage=Stage.SCHEDULER, code=RefusalCode.INVALID_PLACEMENT, message=request.error)
    return Refusal(stage=Stage.POLICY, code=RefusalCode.INVALID_POLICY, message=error) if error else None

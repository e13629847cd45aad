"""One decision of the scheduler, from values to values: filter, score, select, divide."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import msgspec
import numpy as np

from services.scheduler.candidates import Candidates, PluginAnswers
from services.scheduler.division import divide, runs_there
from services.scheduler.domains import constraints_of, domains_of, targets_are
from services.scheduler.filtering import filtered, rejected
from services.scheduler.filters import Exclusion
from services.scheduler.missing import missing
from services.scheduler.overriding import Overriding, beside_forced, insist, overriding, within_quotas
from services.scheduler.passing import passed_over
from services.scheduler.ranking import Ranking, Refused, Wanted, order, rank, staying_on, wanted
from services.scheduler.selection import Contest
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from services.scheduler.strategies import STRATEGIES
from services.scheduler.tiers import scaled_in, tiers
from shared.api import PlacementSpec, SpreadConstraint
from shared.columns import Bools, Floats, Ints
from shared.model.decision import Choice, Proposal, Refusal, Rejection, Score
from shared.model.reasons import RefusalCode, RejectionCode, Stage, last_stage, sentence
from shared.model.request import Request

MOST_ALTERNATES = 32


class Scored(msgspec.Struct, frozen=True, gc=False):
    """What a feasible target scores in all, and by scorer."""

    target: str
    score: float
    breakdown: dict[str, Score]


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

    def scores(self) -> Iterator[Scored]:
        """All feasible targets with their breakdown, best first; of equals as they were asked for."""
        return map(Scored, *self.scored())

    def scored(self) -> tuple[list[str], list[float], list[dict[str, Score]]]:
        """The same as three lists: targets, what they score, and their breakdowns."""
        if self.feasible is None or self.ranking is None:
            return [], [], []
        best_first = (-self.ranking.totals).argsort(kind="stable")
        ids, totals = self.feasible.some("id", best_first), self.ranking.totals[best_first]
        return ids, totals.tolist(), self.ranking.breakdowns(best_first)


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
    overriding: Overriding | None = None
    tier: str = ""

    def reject(self, candidates: Candidates, reason: str, message: str, excluded: Bools) -> None:
        """Note under one reason the candidates that it excludes."""
        self.rejections += rejected(candidates, Exclusion(reason, message, excluded))

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

    Where no target is wanted, an empty choice is proposed, whatever the candidates are.

    Nothing is refused for capacity that is only assumed to be taken, since that may come to nothing: then the targets
    are proposed as if nothing were assumed, and decision settles who gets them.
    """
    considered = len(targets) + sum(rejection.count for rejection in upstream)

    def outcome(assuming: bool) -> Outcome:
        draft = _Draft(request, settings, upstream, considered)
        try:
            scorers = wanted(request, settings)
            if request.spec.targets.none:
                return draft.outcome(Proposal(strategy=request.spec.strategy.type, feasible=len(targets)))
            candidates, policy = _present(
                draft, snapshot, targets, policy_scores, now, plugin_answers or {}, assuming=assuming
            )
            proposal = _propose(draft, candidates, policy, scorers)
        except Refused as refused:
            proposal = Proposal(strategy=request.spec.strategy.type, refusal=refused.refusal)
        return draft.outcome(proposal)

    found = outcome(assuming=True)
    found = outcome(assuming=False) if found.proposal.refusal and snapshot.taken.assumed_in else found
    return found if request.spec.when_unfulfilled == "Wait" else _with_missing(found)


def _with_missing(found: Outcome) -> Outcome:
    """The same, with what is missing where it is a refusal."""
    refusal = found.proposal.refusal
    if refusal is None or found.candidates is None:
        return found
    shortfall = missing(refusal.code, found.candidates, found.feasible, found.ranking)
    return replace(found, proposal=msgspec.structs.replace(found.proposal, missing=shortfall))


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
    if np.count_nonzero(rows < 0):
        gone = tuple(target for target, row in zip(targets, rows.tolist(), strict=True) if row < 0)
        code, words = RejectionCode.TARGET_GONE, "gone from the inventory"
        draft.rejections.append(Rejection(stage=Stage.SCHEDULER, reason=code, message=words, targets=gone))
        policy = None if policy is None else policy[rows >= 0]
        plugin_answers = {key: column[rows >= 0] for key, column in plugin_answers.items()}
        rows = rows[rows >= 0]
    draft.candidates = Candidates(draft.request, snapshot, rows, draft.settings, now, plugin_answers, assuming=assuming)
    draft.overriding = overriding(draft.candidates)
    return draft.candidates, policy


def _propose(draft: _Draft, candidates: Candidates, policy: Floats | None, scorers: Wanted) -> Proposal:
    """The first tier that can take the whole placement does; without tiers, all that the filters left over."""
    found = filtered(candidates, draft.overriding)
    draft.rejections += found.rejections
    draft.exclusions += found.exclusions
    kept = found.kept
    if draft.overriding is not None:
        insist(draft.overriding, candidates, kept, (*draft.rejections, *draft.upstream))
    if not candidates.spec.affinity.tiers or not kept.any():
        return _within(draft, candidates, kept, policy, scorers)
    said, code, before = [], "", len(draft.rejections)
    for tier in tiers(candidates, kept):
        draft.tier = tier.name
        members = tier.members if draft.overriding is None else tier.members | draft.overriding.forced
        draft.reject(candidates, RejectionCode.OTHER_TIER, f"not in tier {tier.name}", kept & ~members)
        try:
            return _within(draft, candidates, kept & members, policy, scorers)
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
    overriding = draft.overriding.only(kept) if draft.overriding is not None else None
    if overriding is not None:
        ranking = draft.ranking = replace(ranking, besides=overriding.points)
    good = ranking.totals >= spec.strategy.minimum_score
    if overriding is not None:
        good |= overriding.forced
    passing = np.count_nonzero(good)
    if passing < len(good):
        draft.reject(feasible, RejectionCode.LOW_SCORE, "below the minimum score", ~good)
        if not passing:
            raise draft.unfeasible()
    contest = _contest(draft, feasible, ranking.totals, good, overriding)
    taken = _take(feasible, contest)
    selected, alternates = _choices(draft, feasible, ranking, contest, taken, overriding)
    return Proposal(strategy=spec.strategy.type, selected=selected, alternates=alternates, feasible=len(contest.order))


def _contest(
    draft: _Draft, feasible: Candidates, totals: Floats, good: Bools, overriding: Overriding | None
) -> Contest:
    """What the strategy chooses from. Raises `Refused` for constraints that no choice can meet."""
    spec = feasible.spec
    moves = feasible.moves
    kept = staying_on(feasible, totals) if moves else feasible.previous
    ranked = order(feasible, totals, kept, spec.stability.rebalance.by if moves else 0.0)
    if np.count_nonzero(good) < len(good):
        ranked = ranked[good[ranked]]
    fewest, most = spec.targets.bounds(len(ranked))
    if most is not None and fewest > most:
        raise Refused(RefusalCode.CONTRADICTION, f"at least {fewest} and at most {most} targets are wanted")
    most = len(ranked) if most is None else min(most, len(ranked))
    forced = 0
    if overriding is not None and overriding.forced.any():  # these come first, and targets need not lie evenly
        first = overriding.forced[ranked]
        forced = int(np.count_nonzero(first))
        ranked = np.concatenate([ranked[first], ranked[~first]])
        fewest, most = max(fewest, forced), max(most, forced)
    replicas, least = feasible.demands.divided, feasible.demands.base.at_least
    some = 0  # that each target gets
    constraints = () if forced else constraints_of(feasible)
    if replicas is not None:
        if replicas < fewest * least:
            each = f", at least {least} in each" if least > 1 else ""
            many = "replica" if replicas == 1 else "replicas"
            raise Refused(RefusalCode.CONTRADICTION, f"{targets_are(fewest)} wanted for {replicas} {many}{each}")
        if _each_gets_some(spec, constraints):
            most, some = min(most, replicas // least), least
    if len(ranked) < fewest:
        why = f"; {draft.reasons(fit=len(ranked))}" if len(ranked) < draft.considered else ""
        raise Refused(RefusalCode.TOO_FEW_TARGETS, f"{targets_are(fewest)} wanted, {len(ranked)} fit{why}")
    domains = tuple(domains_of(feasible, ranked, constraint, most) for constraint in constraints)
    fewest = max([fewest, *(each.min_domains for each in domains if each.must)])
    capacity, held = np.zeros(len(feasible), np.intp), kept.astype(np.intp)
    if replicas is not None:
        room = feasible.same("capacity", lambda: feasible.demands.capacity(feasible.room, len(feasible)))
        # Fit and Quota saw to it that the least fits.
        if overriding is not None and overriding.over_committed.any():
            room = np.where(overriding.over_committed, within_quotas(feasible), room)
        capacity = np.maximum(room, least)
        if spec.replicas.max_per_target is not None:
            capacity = np.minimum(capacity, spec.replicas.max_per_target)
        held *= np.minimum(runs_there(feasible), capacity)
    count = int(np.count_nonzero(kept & good))
    if count > most and not forced:
        ranked, count = scaled_in(feasible, ranked, count, most, held, free=replicas is None and not constraints)
    contest = Contest(ranked, count, domains, fewest, max(most, fewest), capacity, held, totals, replicas, some)
    return replace(contest, forced=forced) if forced else contest


def _each_gets_some(spec: PlacementSpec, constraints: Iterable[SpreadConstraint]) -> bool:
    """Whether every taken target has to get a replica: where a bound says so, or how targets must lie counts them.

    Otherwise a share that is rounded to none is none, and the target is not taken.
    """
    musts = any(each.when_unsatisfiable == "DoNotSchedule" for each in constraints)
    return musts or spec.replicas.min_per_target is not None


def _take(feasible: Candidates, contest: Contest) -> Ints:
    """What the strategy takes. Raises `Refused` where topology or capacity leave too few."""
    spec = feasible.spec
    name = "Binpack" if spec.replicas.division == "Aggregated" and contest.replicas else spec.strategy.type
    choose = beside_forced(STRATEGIES[name]) if contest.forced else STRATEGIES[name]
    taken, will_do, exact = choose(contest)
    if will_do:
        return taken
    bound = "" if exact else "; more was not found, and to try every combination would take too long"
    if len(taken) < contest.fewest:
        raise Refused(
            RefusalCode.TOO_FEW_TARGETS,
            f"{targets_are(contest.fewest)} wanted; {len(contest.order)} fit, "
            f"and the spread constraints allow {len(taken)} of them{bound}",
        )
    room = int(contest.capacity[taken].sum())
    within = " within their quotas" if feasible.quotas else ""
    roomiest = f"the {len(taken)} targets with most room have" if len(taken) > 1 else "the target with most room has"
    raise Refused(
        RefusalCode.INSUFFICIENT_CAPACITY,
        f"{contest.replicas} replicas are wanted; {roomiest} room for {room}{within}{bound}",
    )


def _choices(
    draft: _Draft,
    feasible: Candidates,
    ranking: Ranking,
    contest: Contest,
    taken: Ints,
    overriding: Overriding | None,
) -> tuple[tuple[Choice, ...], tuple[Choice, ...]]:
    """Selected targets with their replicas, and those that come next."""
    shares: list[int] = []
    if contest.replicas:
        taken, shares = divide(feasible, contest, taken)
    wanted_alternates = min(max(len(taken), draft.settings.alternates), MOST_ALTERNATES)
    is_taken = np.zeros(len(feasible), np.bool_)
    is_taken[taken] = True
    first = contest.order[: len(taken) + wanted_alternates]
    others = first[~is_taken[first]][:wanted_alternates]
    positions = np.concatenate([taken, others])
    everywhere = positions.tolist()
    demands = [feasible.demands.at(position) for position in everywhere]
    if contest.replicas:
        most = max(shares)
        replicas: list[int | None] = [*shares, *(min(most, room) for room in contest.capacity[others].tolist())]
    else:
        replicas = [demand.replicas if demand.uniform else None for demand in demands]
    places = np.empty(len(feasible), np.intp)
    places[contest.order] = np.arange(1, len(contest.order) + 1)
    ranked = f" of {len(contest.order)} in tier {draft.tier}" if draft.tier else f" of {len(contest.order)}"
    passed = _passed_over(feasible, contest, taken, others)
    asks_by_node = feasible.demands.anywhere_on_every_node
    nodes_there = feasible.some("nodes", positions) if asks_by_node else repeat(1.0, len(everywhere))
    choices = tuple(
        Choice(
            target=target,
            score=score,
            breakdown=breakdown,
            replicas=count,
            overrides=overrides,
            reserve=demand.reserve(count, nodes),
            reason=f"runs there already, ranked {place}{ranked}" if stays else f"ranked {place}{ranked}",
            passed_over=passed.get(position, ""),
        )
        for position, target, score, breakdown, count, stays, place, nodes, demand, overrides in zip(
            everywhere,
            feasible.some("id", positions),
            ranking.totals[positions].tolist(),
            ranking.breakdowns(positions),
            replicas,
            feasible.previous[positions].tolist(),
            places[positions].tolist(),
            nodes_there,
            demands,
            map(feasible.overrides_at, everywhere),
            strict=True,
        )
    )
    if overriding is not None:
        choices = tuple(map(overriding.noted, choices, everywhere))
    return choices[: len(taken)], choices[len(taken) :]


def _passed_over(feasible: Candidates, contest: Contest, taken: Ints, others: Ints) -> dict[int, str]:
    """Of the others those that score more than one that is taken, by position, each with what decided against it."""
    if not len(taken) or not len(others):
        return {}
    if contest.forced:
        return {}  # the reasons of the forced say by which override
    lowest = int(taken[contest.totals[taken].argmin()])
    score = float(contest.totals[lowest])
    better = others[contest.totals[others] > score].tolist()
    if not better:
        return {}
    staying = feasible.moves and bool(feasible.previous[lowest])
    gain = feasible.spec.stability.rebalance.by if staying else None
    instead = f"{feasible.some('id', np.array([lowest]))[0].removeprefix('/')} ({score:.1f})"
    return {
        each: f"passed over for {instead}: {passed_over(contest, taken, each, lowest, gain=gain)}" for each in better
    }


def refusal_of(request: Request, error: str) -> Refusal | None:
    """The refusal of what earlier stages found to be wrong with the request itself, or None."""
    if request.error:
        return Refusal(stage=Stage.SCHEDULER, code=RefusalCode.INVALID_PLACEMENT, message=request.error)
    return Refusal(stage=Stage.POLICY, code=RefusalCode.INVALID_POLICY, message=error) if error else None

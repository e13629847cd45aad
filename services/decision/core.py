"""What to take, what to record, whom to tell: values in, values out."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import cast

from msgspec.structs import replace

from shared.api import (
    HISTORY_LIMIT,
    MESSAGE_LENGTH,
    MOST_OVERRIDES,
    REJECTION_MESSAGES,
    AppliedOverride,
    HistoryEntry,
    OverrideType,
    PlacementDecisionStatus,
    PlacementSpec,
    RejectionMessage,
    ScoredTarget,
    ScorePart,
)
from shared.api import Rejection as RejectedTargets
from shared.kube.times import rfc3339
from shared.model.decision import Choice, Proposal, Refusal, Rejection
from shared.model.quota import Shortage
from shared.model.reasons import RefusalCode, RejectionCode, Stage, may_name
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, OperatorOverride, Request
from shared.model.resources import Resources
from shared.pipeline.messages import Decided, Overwritten, Scheduled

SAMPLES = 10
MOST_SAID = 1024
"""Characters of a rationale that are about overrides."""


def eligible(choices: Iterable[Choice], minimum_score: float) -> list[Choice]:
    """The choices that score enough, or are forced by an operator."""
    return [choice for choice in choices if choice.forced or choice.score >= minimum_score]


def substitutable(spec: PlacementSpec, selected: Iterable[Choice] = ()) -> bool:
    """Whether an alternate may simply take the place of a choice that was lost.

    Not where replicas are divided (the others' shares would change), not under a spread that must hold (the domains
    would), and not where a target is forced: these go back to the scheduler for another attempt.
    """
    if any(choice.forced for choice in selected):
        return False
    hard_spread = any(constraint.when_unsatisfiable == "DoNotSchedule" for constraint in spec.spread)
    return spec.replicas.division == "Duplicated" and spec.strategy.type != "Spread" and not hard_spread


def may_stay(target: str, request: Request) -> bool:
    """Whether the placement is on a target that it need not leave, even if that is not ready."""
    return target not in request.leaving and any(choice.target == target for choice in request.previous)


def enough(taken: Sequence[Choice], proposal: Proposal, spec: PlacementSpec) -> bool:
    """Whether what could be taken will do: the least count, and all of it where nothing can be substituted."""
    least, _ = spec.targets.bounds(proposal.feasible)
    return len(taken) >= least and (len(taken) == len(proposal.selected) or substitutable(spec, proposal.selected))


def at_least(needed: Resources, held: Resources) -> Resources:
    """What is reserved until a decision is written: what is needed, and not less than what still runs there."""
    return {name: max(needed.get(name, 0.0), held.get(name, 0.0)) for name in {**needed, **held}}


def below_minimum(scheduled: Scheduled) -> Refusal:
    """The refusal when what was proposed does not score enough."""
    proposed = scheduled.proposal.selected
    best = max((choice.score for choice in proposed), default=0.0)
    least = scheduled.request.spec.strategy.minimum_score
    return Refusal(
        code=RefusalCode.BELOW_MINIMUM_SCORE,
        message=f"the best of {len(proposed)} targets scores {best:.1f}, below {least:g}",
        stage=Stage.DECISION,
    )


def proposed(proposal: Proposal) -> set[str]:
    """The ids of the targets that may come of a proposal."""
    later = proposal.preemption.choices if proposal.preemption is not None else ()
    return {choice.target for choice in (*proposal.selected, *proposal.alternates, *later)}


def unauthorized(scheduled: Scheduled, denied: int) -> Refusal:
    """The refusal when the requester may not use `denied` of the targets that were proposed (any more)."""
    return Refusal(
        code=RefusalCode.NOT_AUTHORIZED,
        message=f"{denied} of {len(scheduled.proposal.selected)} proposed targets: not authorized",
        stage=Stage.DECISION,
    )


def contended(scheduled: Scheduled) -> Refusal:
    """The refusal when others were faster for all that was proposed."""
    return Refusal(
        code=RefusalCode.CONTENDED,
        message=f"capacity of {len(scheduled.proposal.selected)} proposed targets was taken by others meanwhile",
        stage=Stage.DECISION,
    )


def over_quota(short: Shortage) -> Refusal:
    """The refusal when a quota over all clusters leaves too little."""
    return Refusal(code=RefusalCode.QUOTA_EXCEEDED, message=str(short), stage=Stage.DECISION)


def record(
    scheduled: Scheduled,
    taken: Sequence[Choice],
    refusal: Refusal | None,
    previous: PlacementDecisionStatus | None,
    now: float,
    evicted: Collection[str] = (),
) -> PlacementDecisionStatus:
    """The decision as it is written. On a refusal, what was selected before stays: it still runs. Not in targets from
    which it is `evicted`, for others."""
    request, proposal = scheduled.request, scheduled.proposal
    before = previous.selected if previous else ()
    if evicted:
        before = tuple(each for each in before if TargetRef.of(each.target).id not in evicted)
    selected = before if refusal else tuple(_scored(choice, scheduled) for choice in taken)
    chosen = {choice.target for choice in taken}
    rest = (choice for choice in (*proposal.selected, *proposal.alternates) if choice.target not in chosen)
    decided_at = rfc3339(now)
    return PlacementDecisionStatus(
        observed_generation=request.head.generation,
        attempt=request.head.attempt,
        inventory_revision=scheduled.inventory_revision,
        input_digest=(previous.input_digest if previous else "") if refusal else request.input_digest,
        facts=(previous.facts if previous else ()) if refusal else scheduled.facts,
        strategy=proposal.strategy,
        selected=selected,
        alternates=tuple(_scored(choice, scheduled) for choice in rest)[:32],
        rejected=_rejected(scheduled.rejections),
        rationale=refusal.message if refusal else _rationale(scheduled, taken),
        overrides=tuple(map(_applied, request.operator_overrides[:MOST_OVERRIDES])),
        considered=considered(scheduled),
        refusal=refusal.code if refusal else "",
        decided_at=decided_at,
        duration_milliseconds=max(0.0, (now - request.requested_at) * 1000) if request.requested_at else 0.0,
        history=_history(scheduled, selected, previous, decided_at),
    )


def _applied(override: OperatorOverride) -> AppliedOverride:
    return AppliedOverride(
        name=override.name,
        workspace=override.workspace,
        type=cast(OverrideType, override.type),
        targets=override.targets,
        reason=override.reason,
        expires_at=override.expires_at or None,
        over_commit=override.over_commit,
    )


def _scored(choice: Choice, scheduled: Scheduled) -> ScoredTarget:
    breakdown = {
        name: ScorePart(raw=score.raw, weight=score.weight, weighted=score.weighted)
        for name, score in choice.breakdown.items()
    }
    return ScoredTarget(
        target=TargetRef.parse(choice.target).reference,
        replicas=choice.replicas,
        overrides=choice.overrides,
        score=choice.score,
        breakdown=breakdown,
        policy=scheduled.rules.get(choice.target, {}),
        reserved=choice.reserve,
        reason=choice.reason,
        passed_over=choice.passed_over[:2048],
        facts=choice.facts,
    )


def _rejected(rejections: Iterable[Rejection]) -> dict[str, RejectedTargets]:
    """Counts and samples by reason. What an earlier stage says does not decide whose names the requester sees."""
    counts: Counter[str] = Counter()
    named: dict[str, list[str]] = defaultdict(list)
    said: dict[str, list[RejectionMessage]] = defaultdict(list)
    for rejection in rejections:
        counts[rejection.reason] += rejection.count
        said[rejection.reason].append(
            RejectionMessage(
                message=rejection.message[:MESSAGE_LENGTH],
                count=rejection.count,
                detail=rejection.detail[:MESSAGE_LENGTH],
            )
        )
        if may_name(rejection):
            named[rejection.reason].extend(rejection.targets)
    return {
        reason: RejectedTargets(
            count=count,
            samples=tuple(sorted(named[reason])[:SAMPLES]),
            messages=tuple(sorted(said[reason], key=lambda each: -each.count)[:REJECTION_MESSAGES]),
        )
        for reason, count in sorted(counts.items())
    }


def selected_ids(status: PlacementDecisionStatus | None) -> set[str]:
    """The ids of the targets that a decision selected."""
    return {TargetRef.of(each.target).id for each in status.selected} if status else set()


def considered(scheduled: Scheduled) -> int:
    """How many targets were looked at, in all stages together."""
    return scheduled.proposal.feasible + sum(rejection.count for rejection in scheduled.rejections)


def _rationale(scheduled: Scheduled, taken: Sequence[Choice]) -> str:
    proposal = scheduled.proposal
    if scheduled.request.spec.targets.none:
        return "no target is wanted"
    named = ", ".join(f"{TargetRef.parse(choice.target).name} ({choice.score:.1f})" for choice in taken[:SAMPLES])
    more = f" and {len(taken) - SAMPLES} more" if len(taken) > SAMPLES else ""
    proposed = {choice.target for choice in proposal.selected}
    fallen = sum(choice.target not in proposed for choice in taken)
    note = f"; {fallen} in place of targets that filled up meanwhile" if fallen else ""
    note += f"; {said}" if (said := _overridden(scheduled.request)) else ""
    total = considered(scheduled)
    return f"{proposal.strategy} chose {named}{more} out of {proposal.feasible} feasible of {total} targets{note}"


def _overridden(request: Request) -> str:
    """The overrides of operators that are in force, with their reasons; empty where there are none."""
    said = (f"{each.type} by override {each.name}: {each.reason}" for each in request.operator_overrides)
    return "; ".join(said)[:MOST_SAID]


def _history(
    scheduled: Scheduled,
    selected: Sequence[ScoredTarget],
    previous: PlacementDecisionStatus | None,
    decided_at: str,
) -> tuple[HistoryEntry, ...]:
    earlier = previous.history if previous else ()
    before = tuple(each.target for each in previous.selected) if previous else ()
    after = tuple(each.target for each in selected)
    if {TargetRef.of(each) for each in before} == {TargetRef.of(each) for each in after}:
        return earlier
    cause = scheduled.request.cause
    why = f"{cause.code}: {cause.detail}" if cause.detail else cause.code
    entry = HistoryEntry(when=decided_at, why=why, from_=before[:1024], to=after[:1024])
    return (entry, *earlier)[:HISTORY_LIMIT]


def redelivered(scheduled: Scheduled, status: PlacementDecisionStatus) -> tuple[list[Choice], Refusal | None]:
    """What the same attempt decided at an earlier delivery, told from what it wrote."""
    selected = selected_ids(status)
    proposal = scheduled.proposal
    known = {choice.target: choice for choice in (*proposal.selected, *proposal.alternates)}
    taken = [known[target] for each in status.selected if (target := TargetRef.of(each.target).id) in known]
    if proposal.refusal is None and len(taken) == len(selected) and enough(taken, proposal, scheduled.request.spec):
        return taken, None
    return [], replace(proposal.refusal or contended(scheduled), message=status.rationale)


def without_lost(status: PlacementDecisionStatus, kept: Iterable[Choice]) -> PlacementDecisionStatus:
    """A decision as it is written again, of which only some targets can be had: reservations of it were lost."""
    targets = {choice.target for choice in kept}
    selected = tuple(each for each in status.selected if TargetRef.of(each.target).id in targets)
    lost = len(status.selected) - len(selected)
    return replace(status, selected=selected, rationale=f"the room in {lost} targets was lost before it was taken")


def decided(
    scheduled: Scheduled,
    taken: Sequence[Choice],
    refusal: Refusal | None,
    trace: str,
    status: PlacementDecisionStatus | None = None,
) -> Decided:
    """What status and controller are told; `status` is what is on record of this attempt, if anything is."""
    return Decided(
        placement=scheduled.request.placement,
        head=scheduled.request.head,
        selected=tuple(taken),
        refusal=refusal,
        contended=refusal is not None and refusal.code == RefusalCode.CONTENDED,
        considered=considered(scheduled),
        trace=trace,
        decided_at=(status.decided_at or "") if status is not None else "",
        unreported=scheduled.request.unreported,
        previous=_previous(status) if status is not None else (),
        cause=scheduled.request.cause,
        unmet=_unmet(scheduled),
        unread=scheduled.request.unread,
        warning="" if refusal else _warning(scheduled, taken),
        overridden=f"{said}." if (said := _overridden(scheduled.request)) else "",
        preempted=_preempted(scheduled.request),
    )


def _preempted(request: Request) -> str:
    """Which targets it has to leave, and for whom, in one sentence; empty where there are none."""
    said = [f"{TargetRef.parse(target).name} for {who}" for target, who in sorted(request.preempted.items())]
    more = f" and {len(said) - SAMPLES} more" if len(said) > SAMPLES else ""
    return f"It has to leave {', '.join(said[:SAMPLES])}{more}, of higher priority." if said else ""


def overwritten(ref: PlacementRef, uid: str, status: PlacementDecisionStatus) -> Overwritten | None:
    """What is on record of an attempt, for events; None where an earlier release wrote it, which says too little."""
    if not (status.refusal or status.considered):
        return None
    last = status.history[0] if status.history else None
    code, _, detail = last.why.partition(": ") if last is not None and last.when == status.decided_at else ("", "", "")
    chosen = () if status.refusal else status.selected
    return Overwritten(
        placement=ref,
        head=Head(uid=uid, generation=status.observed_generation, attempt=status.attempt),
        selected=tuple(
            Choice(target=TargetRef.of(each.target).id, score=each.score, replicas=each.replicas) for each in chosen
        ),
        refusal=Refusal(code=status.refusal, message=status.rationale) if status.refusal else None,
        contended=status.refusal == RefusalCode.CONTENDED,
        considered=status.considered,
        decided_at=status.decided_at or "",
        previous=_previous(status),
        cause=Cause(code=code, detail=detail) if code else None,
    )


def _unmet(scheduled: Scheduled) -> str:
    """Which targets that were selected before rules or required affinity do not allow (any more), in one sentence."""
    before = {choice.target for choice in scheduled.request.previous}
    found = {
        target: each.message
        for each in scheduled.rejections
        if each.stage == Stage.POLICY or each.reason == RejectionCode.AFFINITY_UNSATISFIED
        for target in before.intersection(each.targets)
    }
    if not found:
        return ""
    named = [f"{TargetRef.parse(target).name} ({found[target]})" for target in sorted(found)[:SAMPLES]]
    more = f" and {len(found) - SAMPLES} more" if len(found) > SAMPLES else ""
    return f"It runs where it may not be: {', '.join(named)}{more}."


def _warning(scheduled: Scheduled, taken: Iterable[Choice]) -> str:
    """Of which targets that are taken policies warn, and why, in one sentence."""
    warned = sorted({choice.target for choice in taken} & scheduled.warnings.keys())
    if not warned:
        return ""
    named = (f"{TargetRef.parse(each).name} ({'; '.join(scheduled.warnings[each])})" for each in warned[:SAMPLES])
    more = f" and {len(warned) - SAMPLES} more" if len(warned) > SAMPLES else ""
    return f"Policies warn of {', '.join(named)}{more}."


def _previous(status: PlacementDecisionStatus) -> tuple[str, ...]:
    """The targets that were selected before what is on record was decided, the same at each delivery; after a refusal
    those that it stays on."""
    last = status.history[0] if status.history else None
    stays = bool(status.refusal) or last is None or last.when != status.decided_at
    before = [each.target for each in status.selected] if stays or last is None else last.from_
    return tuple(TargetRef.of(each).id for each in before)

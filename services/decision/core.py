"""What to take, what to record, whom to tell: values in, values out."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from shared.api import (
    HISTORY_LIMIT,
    HistoryEntry,
    PlacementDecisionStatus,
    PlacementSpec,
    ScoredTarget,
    ScorePart,
)
from shared.api import Rejection as RejectedTargets
from shared.kube.times import rfc3339
from shared.model.decision import Choice, Proposal, Refusal, Rejection, Reservation
from shared.model.reasons import RefusalCode, Stage, may_name
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Request
from shared.model.resources import Resources
from shared.pipeline.messages import Assigned, Decided, Scheduled

SAMPLES = 10


def eligible(choices: Iterable[Choice], minimum_score: float) -> list[Choice]:
    """The choices that score enough."""
    return [choice for choice in choices if choice.score >= minimum_score]


def substitutable(spec: PlacementSpec) -> bool:
    """Whether an alternate may simply take the place of a choice that was lost.

    Not where replicas are divided (the others' shares would change) and not under a spread that must hold (the domains
    would): these go back to the scheduler for another attempt.
    """
    hard_spread = any(constraint.when_unsatisfiable == "DoNotSchedule" for constraint in spec.spread)
    return spec.replicas.division == "Duplicated" and spec.strategy.type != "Spread" and not hard_spread


def may_stay(target: str, request: Request) -> bool:
    """Whether the placement is on a target that it need not leave, even if that is not ready."""
    return target not in request.leaving and any(choice.target == target for choice in request.previous)


def enough(taken: Sequence[Choice], proposal: Proposal, spec: PlacementSpec) -> bool:
    """Whether what could be taken will do: the least count, and all of it where nothing can be substituted."""
    least, _ = spec.targets.bounds(proposal.feasible)
    return len(taken) >= least and (len(taken) == len(proposal.selected) or substitutable(spec))


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
    return {choice.target for choice in (*proposal.selected, *proposal.alternates)}


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


def record(
    scheduled: Scheduled,
    taken: Sequence[Choice],
    refusal: Refusal | None,
    previous: PlacementDecisionStatus | None,
    now: float,
) -> PlacementDecisionStatus:
    """The decision as it is written. On a refusal, what was selected before stays: it still runs."""
    request, proposal = scheduled.request, scheduled.proposal
    before = previous.selected if previous else ()
    selected = before if refusal else tuple(_scored(choice, scheduled) for choice in taken)
    chosen = {choice.target for choice in taken}
    rest = (choice for choice in (*proposal.selected, *proposal.alternates) if choice.target not in chosen)
    decided_at = rfc3339(now)
    return PlacementDecisionStatus(
        observed_generation=request.head.generation,
        attempt=request.head.attempt,
        inventory_revision=scheduled.inventory_revision,
        input_digest=(previous.input_digest if previous else "") if refusal else request.input_digest,
        strategy=proposal.strategy,
        selected=selected,
        alternates=tuple(_scored(choice, scheduled) for choice in rest)[:32],
        rejected=_rejected(scheduled.rejections),
        rationale=refusal.message if refusal else _rationale(scheduled, taken),
        decided_at=decided_at,
        duration_milliseconds=max(0.0, (now - request.requested_at) * 1000) if request.requested_at else 0.0,
        history=_history(scheduled, selected, previous, decided_at),
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
    )


def _rejected(rejections: Iterable[Rejection]) -> dict[str, RejectedTargets]:
    """Counts and samples by reason. What an earlier stage says does not decide whose names the requester sees."""
    counts: Counter[str] = Counter()
    named: dict[str, list[str]] = defaultdict(list)
    for rejection in rejections:
        counts[rejection.reason] += rejection.count
        if may_name(rejection):
            named[rejection.reason].extend(rejection.targets)
    return {
        reason: RejectedTargets(count=count, samples=tuple(sorted(named[reason])[:SAMPLES]))
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
    named = ", ".join(f"{TargetRef.parse(choice.target).name} ({choice.score:.1f})" for choice in taken[:SAMPLES])
    more = f" and {len(taken) - SAMPLES} more" if len(taken) > SAMPLES else ""
    proposed = {choice.target for choice in proposal.selected}
    fallen = sum(choice.target not in proposed for choice in taken)
    note = f"; {fallen} in place of targets that filled up meanwhile" if fallen else ""
    total = considered(scheduled)
    return f"{proposal.strategy} chose {named}{more} out of {proposal.feasible} feasible of {total} targets{note}"


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


def assignments(
    placement: PlacementRef,
    head: Head,
    selected: Sequence[ScoredTarget],
    present: Collection[str],
    lost: Collection[str],
    digest: str = "",
) -> list[Assigned]:
    """What binding is told: apply in all selected targets, remove from the others that it is `present` in.

    What is applied is the input that `digest` stands for.

    Adding comes before removing: a removal waits until all selected targets work, unless the old one is `lost` anyway.
    """
    chosen = [TargetRef.of(each.target).id for each in selected]
    after = tuple(sorted(chosen))
    applies = [
        Assigned(
            placement=placement,
            head=head,
            target=target,
            replicas=each.replicas,
            overrides=each.overrides,
            digest=digest,
        )
        for target, each in zip(chosen, selected, strict=True)
    ]
    removals = [
        Assigned(placement=placement, head=head, target=target, remove=True, after=() if target in lost else after)
        for target in sorted(set(present) - set(chosen))
    ]
    return applies + removals


def with_reservations(
    told: Iterable[Assigned], selected: Sequence[ScoredTarget], held: Mapping[str, Reservation]
) -> list[Assigned]:
    """Messages to binding, with what is reserved where something is applied: as `held` has it, by the target's id,
    which is more than was decided while more may run there.
    """
    decided = {TargetRef.of(each.target).id: each.reserved for each in selected}

    def reserving(message: Assigned) -> Assigned:
        found = held.get(message.target)
        if found is None:
            return replace(message, reserved=decided.get(message.target, {}))
        return replace(message, reserved=found.resources, shrinks_to=found.shrinks_to)

    return [each if each.remove else reserving(each) for each in told]


def overlooked(
    placement: PlacementRef,
    head: Head,
    selected: Sequence[ScoredTarget],
    present: Collection[str],
    digest: str = "",
) -> list[Assigned]:
    """What binding is told on a refusal: nothing, but for selected targets that it was never told of.

    What is selected stays as it is while nothing better can be decided. A worker may have died after it wrote the
    selection and before it told anybody.
    """
    untold = [each for each in selected if TargetRef.of(each.target).id not in present]
    return assignments(placement, head, untold, (), (), digest)


def withdrawal(placement: PlacementRef, head: Head, present: Collection[str], *, orphan: bool) -> list[Assigned]:
    """What binding is told when a Placement goes away."""
    return [removal(placement, head, target, orphan=orphan) for target in sorted(present)]


def removal(placement: PlacementRef, head: Head, target: str, *, orphan: bool) -> Assigned:
    """What binding is told where something is to be removed, without waiting for another target."""
    return Assigned(placement=placement, head=head, target=target, remove=True, orphan=orphan)


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


def vanished(target: str, held: Reservation, head: Head) -> Assigned:
    """What binding is told when the workspace of a placement is gone."""
    return Assigned(placement=held.placement, head=head, target=target, remove=True, orphan=held.orphan, vanished=True)


def decided(
    scheduled: Scheduled, taken: Sequence[Choice], refusal: Refusal | None, trace: str, decided_at: str = ""
) -> Decided:
    """What status and controller are told; `decided_at` as it is on record, if it is."""
    return Decided(
        placement=scheduled.request.placement,
        head=scheduled.request.head,
        selected=tuple(taken),
        refusal=refusal,
        contended=refusal is not None and refusal.code == RefusalCode.CONTENDED,
        considered=considered(scheduled),
        trace=trace,
        decided_at=decided_at,
        unreported=scheduled.request.unreported,
    )

"""From objects to targets, from targets to the Placement: values in, values out."""

from collections.abc import Sequence

from services.status.conditions import (
    all_scheduled,
    moved,
    none_wanted,
    overridden,
    preempted,
    readable,
    removing,
    running,
    scheduling,
    unparked,
    warned,
)
from services.status.conditions import held as held_back
from services.status.conditions import parked as given_up
from services.status.health import TargetState, Thresholds, overall_health
from services.status.parked import Parked
from services.status.standing import LastDecision
from shared.api import (
    API_VERSION,
    Condition,
    Health,
    ObjectReference,
    PlacedTarget,
    Placement,
    PlacementPhase,
    PlacementStatus,
    TargetCounts,
    get_condition,
)
from shared.kube.times import seconds
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.report import TargetReport
from shared.pipeline.messages import Decided, Displayed

_TOLD: frozenset[PlacementPhase] = frozenset({"Ready", "Degraded", "Idle", "Suspended"})
"""The phases that are told when they begin."""
NAMED = 3
"""Targets that `where` names."""


def aggregate(
    placement: Placement,
    decision: LastDecision | None,
    targets: Sequence[TargetState],
    now: str,
    *,
    decided: Decided | None = None,
    held: str = "",
    held_reason: str = "",
    parked: Parked | None = None,
    thresholds: Thresholds,
) -> PlacementStatus:
    """The Placement's status. `decided` is news of the decision; without it, what was said of it stands. `held`: why it
    stays on targets that it would have to leave, `held_reason` in one word. `parked`: news of a message given up.

    `now` is RFC 3339. A status that says the same as before is equal to it.
    """
    before, generation = placement.status, placement.metadata.generation
    selected = [each for each in targets if each.selected]
    health = overall_health(selected, thresholds) if selected else "Unknown"
    conditions = before.conditions
    observed = generation if placement.spec.suspend else before.observed_generation
    if decided is not None:
        observed = max(observed, decided.head.generation)
        conditions = readable(scheduling(conditions, decided, now), decided.unread, now, decided.head.generation)
        conditions = overridden(conditions, decided.overridden, now, decided.head.generation)
        if decided.refusal is None:
            conditions = warned(conditions, decided.warning, now, decided.head.generation)
    elif selected and get_condition(conditions, "Scheduled") is None:
        observed = max(observed, decision.generation if decision else 0)
        conditions = all_scheduled(conditions, len(selected), now, observed)
    conditions = moved(conditions, targets, now, generation)
    said = decided.preempted if decided is not None else ""
    conditions = preempted(conditions, said, targets, now, generation)
    conditions = running(conditions, targets, health, now, generation)
    conditions = held_back(conditions, held, now, generation, held_reason)
    if parked is not None:
        conditions = given_up(conditions, parked, now, generation)
    else:
        applied = bool(selected) and all(each.applied for each in selected)
        conditions = unparked(conditions, decided is not None, applied, now, generation)
    conditions = removing(conditions, [each for each in targets if not each.selected], now, generation)
    now_in = phase(placement, conditions, decided, targets, health)
    return PlacementStatus(
        observed_generation=observed,
        phase=now_in,
        phase_since=before.phase_since if before.phase == now_in else now,
        conditions=conditions,
        targets=tuple(_placed(each) for each in targets),
        counts=TargetCounts(
            selected=len(selected),
            applied=sum(each.applied for each in selected),
            ready=sum(each.applied and each.health == "Healthy" for each in selected),
            degraded=sum(each.bad for each in selected),
        ),
        where=where(selected),
        decision_ref=_decision_ref(placement) if decision else None,
        trace_id=decided.trace if decided and decided.trace else before.trace_id,
        last_decision_time=decision.decided_at if decision else before.last_decision_time,
    )


def where(selected: Sequence[TargetState]) -> str:
    """The targets in short, as a column of a table has room for them."""
    named = [
        TargetRef.parse(each.id).name + ("" if each.replicas is None else f":{each.replicas}")
        for each in selected[:NAMED]
    ]
    beyond = len(selected) - len(named)
    return ",".join([*named, f"+{beyond}"] if beyond else named)


def phase(
    placement: Placement,
    conditions: Sequence[Condition],
    decided: Decided | None,
    targets: Sequence[TargetState],
    health: Health,
) -> PlacementPhase:
    """The one word for where the Placement is, the most pressing first."""
    selected = [each for each in targets if each.selected]
    scheduled = get_condition(conditions, "Scheduled")
    refused = scheduled is not None and scheduled.status == "False"
    if placement.metadata.deletion_timestamp:
        return "Removing"
    if placement.spec.suspend:
        return "Suspended"
    if refused and scheduled is not None and scheduled.reason != RefusalCode.CONTENDED:
        return "Unschedulable"
    if not selected and none_wanted(conditions):
        return "Removing" if targets else "Idle"
    if not selected:
        return "Pending" if scheduled is None and decided is None else "Scheduling"
    if any(each.bad for each in selected):
        return "Degraded"
    if all(each.applied for each in selected):
        return "Ready" if health == "Healthy" else "Applying"
    return "Applying" if any(each.phase not in ("", "Pending") for each in selected) else "Scheduled"


def displayed(
    ref: PlacementRef,
    uid: str,
    status: PlacementStatus,
    decision: LastDecision | None,
    reports: Sequence[TargetReport],
    now: str,
    *,
    repeated: bool,
) -> Displayed | None:
    """What there is to tell of a status that is on record; None where it was so before anybody noted since when.

    Ready of another attempt is news also where it was Ready before; that began `now`, if it did not with the phase.
    """
    if status.phase not in _TOLD or status.phase_since is None:
        return None
    decided = decision or LastDecision(attempt=0, generation=0, decided_at=None, selected={})
    head = Head(uid=uid, generation=decided.generation, attempt=decided.attempt)
    applied = [each.head for each in reports if each.target in decided.selected]
    if status.phase == "Ready" and applied:
        head = min(applied, key=lambda each: each.attempt)
    began_before = seconds(status.phase_since) < seconds(decided.decided_at or "")
    healthy = get_condition(status.conditions, "Healthy")
    return Displayed(
        placement=ref,
        head=head,
        phase=status.phase,
        since=status.phase_since,
        became=now if status.phase in ("Ready", "Idle") and began_before else status.phase_since,
        targets=status.counts.selected,
        degraded=status.counts.degraded,
        message=healthy.message if healthy is not None and status.phase == "Degraded" else "",
        repeated=repeated,
    )


def _placed(state: TargetState) -> PlacedTarget:
    ref = TargetRef.parse(state.id)
    return PlacedTarget(
        workspace=ref.workspace,
        name=ref.name,
        replicas=state.replicas,
        phase=state.phase,
        health=state.health,
        message=state.message,
    )


def _decision_ref(placement: Placement) -> ObjectReference:
    metadata = placement.metadata
    return ObjectReference(
        api_version=API_VERSION, kind="PlacementDecision", name=metadata.name, namespace=metadata.namespace
    )

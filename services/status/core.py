"""From objects to targets, from targets to the Placement: values in, values out."""

from collections.abc import Sequence

from services.status.conditions import all_scheduled, running, scheduling
from services.status.conditions import held as held_back
from services.status.health import TargetState, Thresholds, overall_health
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
from shared.model.reasons import RefusalCode
from shared.model.refs import TargetRef
from shared.pipeline.messages import Decided


def aggregate(
    placement: Placement,
    decision: LastDecision | None,
    targets: Sequence[TargetState],
    now: str,
    *,
    decided: Decided | None = None,
    held: str = "",
    thresholds: Thresholds,
) -> PlacementStatus:
    """The Placement's status. `decided` is news of the decision; without it, what was said of it stands. `held`: why it
    stays on targets that it would have to leave.

    `now` is RFC 3339. A status that says the same as before is equal to it.
    """
    before, generation = placement.status, placement.metadata.generation
    selected = [each for each in targets if each.selected]
    health = overall_health(selected, thresholds) if selected else "Unknown"
    conditions = before.conditions
    observed = generation if placement.spec.suspend else before.observed_generation
    if decided is not None:
        observed = max(observed, decided.head.generation)
        conditions = scheduling(conditions, decided, now)
    elif selected and get_condition(conditions, "Scheduled") is None:
        observed = max(observed, decision.generation if decision else 0)
        conditions = all_scheduled(conditions, len(selected), now, observed)
    conditions = held_back(running(conditions, selected, health, now, generation), held, now, generation)
    return PlacementStatus(
        observed_generation=observed,
        phase=phase(placement, conditions, decided, selected, health),
        conditions=conditions,
        targets=tuple(_placed(each) for each in targets),
        counts=TargetCounts(
            selected=len(selected),
            applied=sum(each.applied for each in selected),
            ready=sum(each.applied and each.health == "Healthy" for each in selected),
            degraded=sum(each.bad for each in selected),
        ),
        decision_ref=_decision_ref(placement) if decision else None,
        trace_id=decided.trace if decided and decided.trace else before.trace_id,
        last_decision_time=decision.decided_at if decision else before.last_decision_time,
    )


def phase(
    placement: Placement,
    conditions: Sequence[Condition],
    decided: Decided | None,
    selected: Sequence[TargetState],
    health: Health,
) -> PlacementPhase:
    """The one word for where the Placement is, the most pressing first."""
    scheduled = get_condition(conditions, "Scheduled")
    refused = scheduled is not None and scheduled.status == "False"
    if placement.metadata.deletion_timestamp:
        return "Removing"
    if placement.spec.suspend:
        return "Suspended"
    if refused and scheduled is not None and scheduled.reason != RefusalCode.CONTENDED:
        return "Unschedulable"
    if not selected:
        return "Pending" if scheduled is None and decided is None else "Scheduling"
    if any(each.bad for each in selected):
        return "Degraded"
    if all(each.applied for each in selected):
        return "Ready" if health == "Healthy" else "Applying"
    return "Applying" if any(each.phase not in ("", "Pending") for each in selected) else "Scheduled"


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

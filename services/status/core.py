"""From objects to targets, from targets to the Placement: values in, values out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from shared.api import (
    Condition,
    Health,
    ObjectReference,
    PlacedTarget,
    Placement,
    PlacementDecision,
    PlacementPhase,
    PlacementStatus,
    TargetCounts,
    applied_phase,
    get_condition,
    set_condition,
)
from shared.model.refs import TargetRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.messages import Decided

APPLIED = frozenset({"Applied", "Ready", "Degraded"})
"""Phases of a binding in which everything is in the target."""

_Truth = Literal["True", "False", "Unknown"]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Shares, 0..1, at which the whole is called by the state of its parts."""

    unhealthy: float = 0.3
    ready_unhealthy: float = 0.5
    ready_degraded: float = 0.9
    stale: float = 0.5


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """One target of a placement. `silent` says why nothing is heard of it, empty when it is."""

    id: str
    replicas: int | None = None
    phase: str = ""
    health: Health = "Unknown"
    message: str = ""
    selected: bool = True
    silent: str = ""

    @property
    def applied(self) -> bool:
        return self.phase in APPLIED


def target_health(objects: Sequence[ObjectHealth], thresholds: Thresholds) -> tuple[Health, str]:
    """Health of a placement in one target, and why. No objects at all is healthy.

    Without anything wrong, it is Progressing until everything is Healthy. What is wrong counts by share: of objects
    that are Unhealthy, and of replicas that are ready.
    """
    count = Counter(each.health for each in objects)
    why = _worst(objects)
    if count["Unknown"] and count["Unknown"] >= thresholds.stale * len(objects):
        return "Unknown", why
    if count["Unhealthy"] and count["Unhealthy"] >= thresholds.unhealthy * len(objects):
        return "Unhealthy", why
    if not count["Unhealthy"] and not count["Degraded"]:
        return ("Progressing", why) if count["Progressing"] or count["Unknown"] else ("Healthy", "")
    wanted = sum(each.replicas or 0 for each in objects)
    ready = sum(min(each.ready or 0, each.replicas or 0) for each in objects)
    share = ready / wanted if wanted else 1.0
    if share < thresholds.ready_unhealthy:
        return "Unhealthy", why
    if share < thresholds.ready_degraded or count["Unhealthy"]:
        return "Degraded", why
    return "Healthy", why


def overall_health(targets: Sequence[TargetState], thresholds: Thresholds) -> Health:
    """Health of a placement over its targets, by the same shares."""
    count = Counter(each.health for each in targets)
    silent = sum(1 for each in targets if each.silent)
    if silent and silent >= thresholds.stale * len(targets):
        return "Unknown"
    if count["Unhealthy"] and count["Unhealthy"] >= thresholds.unhealthy * len(targets):
        return "Unhealthy"
    if silent or count["Unhealthy"] or count["Degraded"]:
        return "Degraded"
    if count["Progressing"] or count["Unknown"]:
        return "Progressing"
    return "Healthy"


def states(
    decision: PlacementDecision | None,
    reports: Sequence[TargetReport],
    silent: Mapping[str, str],
    thresholds: Thresholds,
) -> list[TargetState]:
    """The targets of a placement: those selected, in the decision's order, then those that it is leaving."""
    known = {report.target: report for report in reports}
    found = []
    for each in decision.status.selected if decision else ():
        target = TargetRef.of(each.target).id
        state = _state(target, known.pop(target, None), silent.get(target, ""), thresholds)
        found.append(msgspec.structs.replace(state, replicas=each.replicas))
    for target in sorted(known):
        state = _state(target, known[target], silent.get(target, ""), thresholds)
        found.append(msgspec.structs.replace(state, selected=False))
    return found


def _state(target: str, report: TargetReport | None, silent: str, thresholds: Thresholds) -> TargetState:
    if report is None:
        return TargetState(id=target, phase="Pending", message=silent or "Nothing is applied yet.", silent=silent)
    health, why = target_health(report.objects, thresholds)
    if report.phase == "Failed" and not report.objects:
        health = "Unhealthy"
    if silent:
        health, why = "Unknown", silent
    message = why or ("" if report.phase in APPLIED else report.message)
    if report.phase == "Failed":
        message = report.message
    phase = report.phase
    if phase == "Applied" and not silent:  # it is heard of: the same word as its PlacementBinding has for it
        phase = applied_phase(each.health for each in report.objects)
    return TargetState(id=target, phase=phase, health=health, message=message[:2048], silent=silent)


def aggregate(
    placement: Placement,
    decision: PlacementDecision | None,
    targets: Sequence[TargetState],
    now: str,
    *,
    decided: Decided | None = None,
    thresholds: Thresholds,
) -> PlacementStatus:
    """The Placement's status. `decided` is news of the decision; without it, what was said of it stands.

    `now` is RFC 3339. A status that says the same as before is equal to it.
    """
    before, generation = placement.status, placement.metadata.generation
    selected = [each for each in targets if each.selected]
    health = overall_health(selected, thresholds) if selected else "Unknown"
    conditions = before.conditions
    observed = generation if placement.spec.suspend else before.observed_generation
    if decided is not None:
        observed = max(observed, decided.head.generation)
        conditions = _scheduling(conditions, decided, decision, now)
    elif selected and get_condition(conditions, "Scheduled") is None:
        observed = max(observed, decision.status.observed_generation if decision else 0)
        conditions = _all_scheduled(conditions, len(selected), now, observed)
    conditions = _running(conditions, selected, health, now, generation)
    return PlacementStatus(
        observed_generation=observed,
        phase=phase(placement, conditions, decided, selected, health),
        conditions=conditions,
        targets=tuple(_placed(each) for each in targets),
        counts=TargetCounts(
            selected=len(selected),
            applied=sum(each.applied for each in selected),
            ready=sum(each.applied and each.health == "Healthy" for each in selected),
            degraded=sum(_bad(each) for each in selected),
        ),
        decision_ref=_decision_ref(decision),
        trace_id=decided.trace if decided and decided.trace else before.trace_id,
        last_decision_time=decision.status.decided_at if decision else before.last_decision_time,
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
    if refused and scheduled is not None and scheduled.reason != "Contended":
        return "Unschedulable"
    if not selected:
        return "Pending" if scheduled is None and decided is None else "Scheduling"
    if any(_bad(each) for each in selected):
        return "Degraded"
    if all(each.applied for each in selected):
        return "Ready" if health == "Healthy" else "Applying"
    return "Applying" if any(each.phase not in ("", "Pending") for each in selected) else "Scheduled"


def _bad(state: TargetState) -> bool:
    return bool(state.silent) or state.phase == "Failed" or state.health in ("Degraded", "Unhealthy")


def _scheduling(
    conditions: tuple[Condition, ...], decided: Decided, decision: PlacementDecision | None, now: str
) -> tuple[Condition, ...]:
    """Discovered, PolicySatisfied and Scheduled, from what was decided."""
    generation = decided.head.generation
    if decided.refusal is None:
        return _all_scheduled(conditions, len(decided.selected), now, generation, decided.considered)
    code, sentence = decided.refusal.code, decided.refusal.message
    stage = stage_of(code, decision)
    passed: _Truth = "True"
    for name in ("Discovered", "PolicySatisfied", "Scheduled"):
        if name in (stage, "Scheduled"):
            conditions = set_condition(conditions, name, "False", code, sentence, now, generation)
            passed = "Unknown"
        else:
            said = "An earlier stage left nothing." if passed == "Unknown" else _PASSED[name]
            conditions = set_condition(conditions, name, passed, "NotReached" if passed == "Unknown" else "Passed",
                                       said, now, generation)  # fmt: skip
    return conditions


def chosen(decided: Decided) -> str:
    """The decision in one sentence."""
    names = ", ".join(TargetRef.parse(each.target).name for each in decided.selected[:10])
    more = f" and {len(decided.selected) - 10} more" if len(decided.selected) > 10 else ""
    return f"Placed on {len(decided.selected)} of {_count(decided.considered, 'target')}: {names}{more}."


_PASSED = {
    "Discovered": "There are targets that it may use.",
    "PolicySatisfied": "The policies leave targets to choose from.",
}


def _all_scheduled(
    conditions: tuple[Condition, ...], selected: int, now: str, generation: int, considered: int = 0
) -> tuple[Condition, ...]:
    of = f" of {considered}" if considered else ""
    for name, said in (*_PASSED.items(), ("Scheduled", f"{_count(selected, 'target')}{of} chosen.")):
        conditions = set_condition(conditions, name, "True", "Passed", said, now, generation)
    return conditions


def stage_of(code: str, decision: PlacementDecision | None) -> str:
    """The condition that a refusal belongs to: that of the last stage that had targets to reject.

    When discovery rejected every target there was, that is Discovered, and so on.
    """
    if code in _STAGE:
        return _STAGE[code]
    reasons = set(decision.status.rejected) if decision else set()
    if code != "NoFeasibleTarget":
        return "Scheduled"
    if reasons <= DISCOVERY_REASONS:
        return "Discovered"
    if reasons <= DISCOVERY_REASONS | POLICY_REASONS:
        return "PolicySatisfied"
    return "Scheduled"


DISCOVERY_REASONS = frozenset(
    {"AuthorizationUnknown", "MissingAPI", "NotAuthorized", "NotReady", "NotSelectedWorkspace", "WorkspaceNotAllowed"}
)
POLICY_REASONS = frozenset({"PolicyError", "PolicyForbids", "PolicyRequires"})
_STAGE = {"InvalidPolicy": "PolicySatisfied", "InvalidPlacement": "Scheduled"}


def _running(
    conditions: tuple[Condition, ...], selected: Sequence[TargetState], health: Health, now: str, generation: int
) -> tuple[Condition, ...]:
    """Applied, Healthy and Ready, from the targets."""
    total = len(selected)
    applied = sum(each.applied for each in selected)
    healthy = sum(each.applied and each.health == "Healthy" for each in selected)
    if not total:
        for name in ("Applied", "Healthy", "Ready"):
            conditions = set_condition(
                conditions, name, "Unknown" if name == "Healthy" else "False", "NotScheduled", "No target is chosen.",
                now, generation,
            )  # fmt: skip
        return conditions
    failed = next((each for each in selected if each.phase == "Failed"), None)
    waiting = next((each for each in selected if not each.applied), None)
    behind = failed or waiting
    said = f"Applied in {applied} of {_count(total, 'target')}{_because(behind)}."
    reason = "Applied" if applied == total else "Failed" if failed else "Applying"
    conditions = set_condition(conditions, "Applied", _truth(applied == total), reason, said, now, generation)
    ill = next((each for each in selected if _bad(each)), None) or next(
        (each for each in selected if each.health != "Healthy"), None
    )
    said = f"Healthy in {healthy} of {_count(total, 'target')}{_because(ill)}."
    truth: _Truth = "Unknown" if health == "Unknown" else _truth(health == "Healthy")
    conditions = set_condition(conditions, "Healthy", truth, health, said, now, generation)
    scheduled = get_condition(conditions, "Scheduled")
    ready = applied == total and health == "Healthy" and scheduled is not None and scheduled.status == "True"
    said = f"Ready in {healthy} of {_count(total, 'target')}."
    return set_condition(conditions, "Ready", _truth(ready), "Ready" if ready else "NotReady", said, now, generation)


def _because(state: TargetState | None) -> str:
    if state is None:
        return ""
    why = f": {state.message.rstrip('.')}" if state.message else f" is {state.phase} and {state.health}"
    return f"; {TargetRef.parse(state.id).name}{why}"


def _truth(holds: bool) -> _Truth:
    return "True" if holds else "False"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


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


def _decision_ref(decision: PlacementDecision | None) -> ObjectReference | None:
    if decision is None:
        return None
    metadata = decision.metadata
    return ObjectReference(
        api_version=decision.api_version, kind="PlacementDecision", name=metadata.name, namespace=metadata.namespace
    )


_GRAVITY: tuple[Health, ...] = ("Unhealthy", "Degraded", "Unknown", "Progressing", "Healthy")


def _worst(objects: Sequence[ObjectHealth]) -> str:
    """What is wrong with the object that is worst off, for people."""
    worst = min(objects, key=lambda each: _GRAVITY.index(each.health), default=None)
    if worst is None or worst.health == "Healthy":
        return ""
    _, _, named = worst.ref.partition(" ")
    return f"{named}: {worst.message}" if worst.message else f"{named} is {worst.health}"

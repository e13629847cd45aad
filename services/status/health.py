"""Health of a placement: in one target, from its objects; over all targets, from theirs."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from services.status.standing import LastDecision
from shared.api import Health, applied_phase
from shared.model.report import ObjectHealth, TargetReport

APPLIED = frozenset({"Applied", "Ready", "Degraded"})
"""Phases of a binding in which everything is in the target."""


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

    @property
    def bad(self) -> bool:
        """Something is wrong there: it is silent, failed or ill."""
        return bool(self.silent) or self.phase == "Failed" or self.health in ("Degraded", "Unhealthy")


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
    decision: LastDecision | None,
    reports: Sequence[TargetReport],
    silent: Mapping[str, str],
    thresholds: Thresholds,
) -> list[TargetState]:
    """The targets of a placement: those selected, in the order of the decision, then those that it is leaving."""
    known = {report.target: report for report in reports}
    found = []
    for target, replicas in decision.selected.items() if decision else ():
        state = _state(target, known.pop(target, None), silent.get(target, ""), thresholds)
        found.append(msgspec.structs.replace(state, replicas=replicas))
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
    if report.phase == "Failed" or (report.phase == "Removing" and not silent):
        message = report.message
    phase = report.phase
    if phase == "Applied" and not silent:  # it is heard of: the same word as its PlacementBinding has for it
        phase = applied_phase(each.health for each in report.objects)
    return TargetState(id=target, phase=phase, health=health, message=message[:2048], silent=silent)


_GRAVITY: tuple[Health, ...] = ("Unhealthy", "Degraded", "Unknown", "Progressing", "Healthy")


def _worst(objects: Sequence[ObjectHealth]) -> str:
    """The trouble of the object that is worst off, for people."""
    worst = min(objects, key=lambda each: _GRAVITY.index(each.health), default=None)
    if worst is None or worst.health == "Healthy":
        return ""
    _, _, named = worst.ref.partition(" ")
    return f"{named}: {worst.message}" if worst.message else f"{named} is {worst.health}"

"""Kinds that a WorkloadKind declares: by its states, and by how many of its replicas are ready."""

from services.status.rules.diagnosis import Diagnosis, Object, condition, holds, said
from services.status.rules.generic import generic
from shared.api import Health, StateMeaning
from shared.hub.kinds import Kind, StateSign, value_at

_HEALTH: dict[StateMeaning, Health] = {
    "Healthy": "Healthy",
    "Progressing": "Progressing",
    "Degraded": "Degraded",
    "Unhealthy": "Unhealthy",
    "Succeeded": "Healthy",
    "Failed": "Unhealthy",
}


def declared(obj: Object, kind: Kind) -> Diagnosis:
    """The first state that holds, then its replicas; where neither is declared, its conditions."""
    wanted = ready = None
    if kind.replicas is not None and kind.ready is not None:
        wanted = _number(value_at(obj, kind.replicas, 1))
        ready = min(wanted, _number(value_at(obj, kind.ready, 0)))
    state = next((each for each in kind.states if _holds(obj, each)), None)
    if state is not None:
        ended = state.means if state.means == "Succeeded" or state.means == "Failed" else ""
        return Diagnosis(_HEALTH[state.means], _said(obj, state), wanted, ready, ended)
    if any(each.means == "Healthy" for each in kind.states):
        return Diagnosis("Progressing", "its conditions and fields do not say yet that it is healthy", wanted, ready)
    if wanted is None or ready is None:
        return generic(obj)
    if ready < wanted:
        return Diagnosis("Progressing", f"{ready} of {wanted} replicas are ready", wanted, ready)
    return Diagnosis("Healthy", "", wanted, ready)


def _holds(obj: Object, state: StateSign) -> bool:
    if state.path is None:
        return holds(obj, state.condition)
    found = value_at(obj, state.path)
    if found is None or isinstance(found, dict | list):
        return False
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return not state.values or text in state.values


def _said(obj: Object, state: StateSign) -> str:
    if state.path is None:
        return said(condition(obj, state.condition), state.condition)
    return f"{'.'.join(state.path)} is {str(value_at(obj, state.path))[:100]}"


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0

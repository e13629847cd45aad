"""Conditions of a Placement, each with a sentence for people."""

from collections.abc import Sequence
from typing import Literal

from services.status.health import TargetState
from shared.api import Condition, Health, get_condition, set_condition
from shared.model.reasons import Stage
from shared.model.refs import TargetRef
from shared.pipeline.messages import Decided

_Truth = Literal["True", "False", "Unknown"]

_SHOWS: dict[str, str] = {Stage.DISCOVERY: "Discovered", Stage.POLICY: "PolicySatisfied"}
"""The condition on which a refusal shows, by the stage that left nothing; Scheduled for all others."""

HELD, READY, SCHEDULED = "Held", "Ready", "Scheduled"

_PASSED = {
    "Discovered": "There are targets that it may use.",
    "PolicySatisfied": "The policies leave targets to choose from.",
}


def scheduling(conditions: tuple[Condition, ...], decided: Decided, now: str) -> tuple[Condition, ...]:
    """Discovered, PolicySatisfied and Scheduled, from what was decided.

    A refusal shows on Scheduled, and on the condition of the stage that left nothing.
    """
    generation = decided.head.generation
    if decided.refusal is None:
        return all_scheduled(conditions, len(decided.selected), now, generation, decided.considered)
    code, sentence = decided.refusal.code, decided.refusal.message
    refused = _SHOWS.get(decided.refusal.stage, SCHEDULED)
    passed: _Truth = "True"
    for name in ("Discovered", "PolicySatisfied", SCHEDULED):
        if name in (refused, SCHEDULED):
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
    return f"Placed on {len(decided.selected)} of {_counted(decided.considered, 'target')}: {names}{more}."


def all_scheduled(
    conditions: tuple[Condition, ...], selected: int, now: str, generation: int, considered: int = 0
) -> tuple[Condition, ...]:
    """Discovered, PolicySatisfied and Scheduled, where targets are selected, out of `considered` (0: not known)."""
    of = f" of {considered}" if considered else ""
    for name, said in (*_PASSED.items(), (SCHEDULED, f"{_counted(selected, 'target')}{of} chosen.")):
        conditions = set_condition(conditions, name, "True", "Passed", said, now, generation)
    return conditions


def running(
    conditions: tuple[Condition, ...], selected: Sequence[TargetState], health: Health, now: str, generation: int
) -> tuple[Condition, ...]:
    """Applied, Healthy and Ready, from how the selected targets are."""
    total = len(selected)
    applied = sum(each.applied for each in selected)
    healthy = sum(each.applied and each.health == "Healthy" for each in selected)
    if not total:
        for name in ("Applied", "Healthy", READY):
            conditions = set_condition(
                conditions, name, "Unknown" if name == "Healthy" else "False", "NotScheduled", "No target is chosen.",
                now, generation,
            )  # fmt: skip
        return conditions
    failed = next((each for each in selected if each.phase == "Failed"), None)
    waiting = next((each for each in selected if not each.applied), None)
    behind = failed or waiting
    said = f"Applied in {applied} of {_counted(total, 'target')}{_because(behind)}."
    reason = "Applied" if applied == total else "Failed" if failed else "Applying"
    conditions = set_condition(conditions, "Applied", _truth(applied == total), reason, said, now, generation)
    ill = next((each for each in selected if each.bad), None) or next(
        (each for each in selected if each.health != "Healthy"), None
    )
    said = f"Healthy in {healthy} of {_counted(total, 'target')}{_because(ill)}."
    truth: _Truth = "Unknown" if health == "Unknown" else _truth(health == "Healthy")
    conditions = set_condition(conditions, "Healthy", truth, health, said, now, generation)
    scheduled = get_condition(conditions, SCHEDULED)
    ready = applied == total and health == "Healthy" and scheduled is not None and scheduled.status == "True"
    said = f"Ready in {healthy} of {_counted(total, 'target')}."
    return set_condition(conditions, READY, _truth(ready), "Ready" if ready else "NotReady", said, now, generation)


def held(conditions: tuple[Condition, ...], why: str, now: str, generation: int) -> tuple[Condition, ...]:
    """Held, where a placement stays on lost targets for a reason of ours, or once did."""
    if why:
        return set_condition(conditions, HELD, "True", "TooManyLost", why, now, generation)
    if get_condition(conditions, HELD) is None:
        return conditions
    return set_condition(conditions, HELD, "False", "NotHeld", "It may leave what is lost.", now, generation)


def _because(state: TargetState | None) -> str:
    if state is None:
        return ""
    why = f": {state.message.rstrip('.')}" if state.message else f" is {state.phase} and {state.health}"
    return f"; {TargetRef.parse(state.id).name}{why}"


def _truth(holds: bool) -> _Truth:
    return "True" if holds else "False"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

"""Conditions of a Placement, each with a sentence for people."""

from collections.abc import Sequence
from typing import Literal

from services.status.health import TargetState
from services.status.parked import AFTERWARDS, Parked
from shared.api import Condition, Health, get_condition, set_condition
from shared.model.reasons import Stage
from shared.model.refs import TargetRef
from shared.pipeline.messages import Decided

_Truth = Literal["True", "False", "Unknown"]

SATISFIED = "PolicySatisfied"
UNMET = "NotMetAnyMore"
"""Why PolicySatisfied is False of what runs already, since something changed on its target."""

_SHOWS: dict[str, str] = {Stage.DISCOVERY: "Discovered", Stage.POLICY: SATISFIED}
"""The condition on which a refusal shows, by the stage that left nothing; Scheduled for all others."""

HELD, PARKED, READABLE, READY = "Held", "Parked", "WorkloadReadable", "Ready"
OVERRIDDEN, PREEMPTED, REMOVING, SCHEDULED, WARNING = (
    "Overridden",
    "Preempted",
    "Removing",
    "Scheduled",
    "PolicyWarning",
)
NONE_WANTED = "NoneWanted"
"""The reason where the Placement asks for no target (`count.min` 0), and that was decided."""

_MOST = 2048  # characters that the schema allows

_PASSED = {
    "Discovered": "There are targets that it may use.",
    SATISFIED: "The policies leave targets to choose from.",
}


def scheduling(conditions: tuple[Condition, ...], decided: Decided, now: str) -> tuple[Condition, ...]:
    """Discovered, PolicySatisfied and Scheduled, from what was decided.

    A refusal shows on Scheduled, and on the condition of the stage that left nothing.
    """
    generation = decided.head.generation
    if decided.refusal is None and not decided.selected:
        return _none_scheduled(conditions, now, generation)
    if decided.refusal is None:
        conditions = all_scheduled(conditions, len(decided.selected), now, generation, decided.considered)
        return _unmet(conditions, decided.unmet, now, generation)
    code, sentence = decided.refusal.code, decided.refusal.message
    refused = _SHOWS.get(decided.refusal.stage, SCHEDULED)
    passed: _Truth = "True"
    for name in ("Discovered", SATISFIED, SCHEDULED):
        if name in (refused, SCHEDULED):
            conditions = set_condition(conditions, name, "False", code, sentence, now, generation)
            passed = "Unknown"
        else:
            said = "An earlier stage left nothing." if passed == "Unknown" else _PASSED[name]
            conditions = set_condition(conditions, name, passed, "NotReached" if passed == "Unknown" else "Passed",
                                       said, now, generation)  # fmt: skip
    return _unmet(conditions, decided.unmet, now, generation)


def _unmet(conditions: tuple[Condition, ...], unmet: str, now: str, generation: int) -> tuple[Condition, ...]:
    """PolicySatisfied, where it runs in a target that rules or required affinity do not allow any more."""
    if not unmet:
        return conditions
    return set_condition(conditions, SATISFIED, "False", UNMET, unmet, now, generation)


def readable(conditions: tuple[Condition, ...], unread: str, now: str, generation: int) -> tuple[Condition, ...]:
    """WorkloadReadable, where a part of the workload cannot be read any more, or once could not."""
    if unread:
        said = f"{unread}. What is there of it stays as it was applied."[:_MOST]
        return set_condition(conditions, READABLE, "False", "NotReadable", said, now, generation)
    if get_condition(conditions, READABLE) is None:
        return conditions
    return set_condition(conditions, READABLE, "True", "Read", "All of the workload can be read.", now, generation)


def warned(conditions: tuple[Condition, ...], warning: str, now: str, generation: int) -> tuple[Condition, ...]:
    """PolicyWarning, where policies warn of what was chosen, or once did."""
    if warning:
        return set_condition(conditions, WARNING, "True", "Warned", warning[:_MOST], now, generation)
    if get_condition(conditions, WARNING) is None:
        return conditions
    return set_condition(conditions, WARNING, "False", "NotWarned", "No policy warns any more.", now, generation)


def overridden(conditions: tuple[Condition, ...], said: str, now: str, generation: int) -> tuple[Condition, ...]:
    """Overridden, where operators' overrides are in force for it, or once were."""
    if said:
        return set_condition(conditions, OVERRIDDEN, "True", OVERRIDDEN, said[:_MOST], now, generation)
    if get_condition(conditions, OVERRIDDEN) is None:
        return conditions
    said = "No operator's override is in force any more."
    return set_condition(conditions, OVERRIDDEN, "False", "NotOverridden", said, now, generation)


def preempted(
    conditions: tuple[Condition, ...], said: str, targets: Sequence[TargetState], now: str, generation: int
) -> tuple[Condition, ...]:
    """Preempted, where it has to leave targets for others; until it is placed, and has left them."""
    if said:
        return set_condition(conditions, PREEMPTED, "True", PREEMPTED, said[:_MOST], now, generation)
    before, scheduled = get_condition(conditions, PREEMPTED), get_condition(conditions, SCHEDULED)
    if before is None or before.status != "True" or scheduled is None or scheduled.status != "True":
        return conditions
    if any(not each.selected for each in targets):
        return conditions
    said = "It is placed, and has left what others wanted."
    return set_condition(conditions, PREEMPTED, "False", "Placed", said, now, generation)


def moved(
    conditions: tuple[Condition, ...], targets: Sequence[TargetState], now: str, generation: int
) -> tuple[Condition, ...]:
    """PolicySatisfied again, once nothing is left in targets that it had to leave, another one being chosen."""
    before, scheduled = get_condition(conditions, SATISFIED), get_condition(conditions, SCHEDULED)
    if before is None or before.reason != UNMET or scheduled is None or scheduled.status != "True":
        return conditions
    if any(not each.selected for each in targets):
        return conditions
    return set_condition(conditions, SATISFIED, "True", "Passed", _PASSED[SATISFIED], now, generation)


def chosen(decided: Decided) -> str:
    """The decision in one sentence."""
    if not decided.selected:
        return "No target is wanted."
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


def _none_scheduled(conditions: tuple[Condition, ...], now: str, generation: int) -> tuple[Condition, ...]:
    """Discovered, PolicySatisfied and Scheduled, where no target is wanted: nobody asked whether there are any."""
    for name in _PASSED:
        conditions = set_condition(conditions, name, "Unknown", NONE_WANTED, "No target is wanted.", now, generation)
    return set_condition(conditions, SCHEDULED, "True", NONE_WANTED, "No target is wanted.", now, generation)


def none_wanted(conditions: Sequence[Condition]) -> bool:
    """Whether it was decided that the placement runs nowhere."""
    scheduled = get_condition(conditions, SCHEDULED)
    return scheduled is not None and scheduled.status == "True" and scheduled.reason == NONE_WANTED


def running(
    conditions: tuple[Condition, ...], targets: Sequence[TargetState], health: Health, now: str, generation: int
) -> tuple[Condition, ...]:
    """Applied, Healthy and Ready, from how the selected targets are; where none is wanted, whether all are left."""
    selected = [each for each in targets if each.selected]
    total = len(selected)
    if not total and none_wanted(conditions):
        for name in ("Applied", "Healthy"):
            conditions = set_condition(conditions, name, "True", NONE_WANTED, "No target is wanted.", now, generation)
        if targets:
            said = f"No target is wanted; it is still being removed from {_counted(len(targets), 'target')}."
            return set_condition(conditions, READY, "False", "Removing", said, now, generation)
        said = "No target is wanted, and nothing is left in any."
        return set_condition(conditions, READY, "True", NONE_WANTED, said, now, generation)
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


def held(
    conditions: tuple[Condition, ...], why: str, now: str, generation: int, reason: str = ""
) -> tuple[Condition, ...]:
    """Held, where a placement stays on lost targets for a reason of ours, or once did."""
    if why:
        return set_condition(conditions, HELD, "True", reason or "TooManyLost", why, now, generation)
    if get_condition(conditions, HELD) is None:
        return conditions
    return set_condition(conditions, HELD, "False", "NotHeld", "It may leave what is lost.", now, generation)


def parked(conditions: tuple[Condition, ...], news: Parked, now: str, generation: int) -> tuple[Condition, ...]:
    """Parked, where a message about the placement was given up."""
    return set_condition(conditions, PARKED, "True", news.reason, news.sentence, now, generation)


def unparked(
    conditions: tuple[Condition, ...], decided: bool, applied: bool, now: str, generation: int
) -> tuple[Condition, ...]:
    """Not Parked any more: by a later decision, or since what was decided is applied all the same."""
    before = get_condition(conditions, PARKED)
    if before is None or before.status != "True":
        return conditions
    afterwards = before.reason.removesuffix("GivenUp").lower() in AFTERWARDS
    if not (decided or (afterwards and applied)):
        return conditions
    return set_condition(conditions, PARKED, "False", "NotParked", "A later round came through.", now, generation)


def removing(
    conditions: tuple[Condition, ...], leaving: Sequence[TargetState], now: str, generation: int
) -> tuple[Condition, ...]:
    """Removing, where something of a placement stays in targets that it is `leaving`, or once did."""
    stuck = [each for each in leaving if each.phase == "Removing"]
    if stuck:
        said = f"Still there in {_counted(len(stuck), 'target')}{_because(stuck[0])}."[:_MOST]
        return set_condition(conditions, REMOVING, "True", "StillThere", said, now, generation)
    if get_condition(conditions, REMOVING) is None:
        return conditions
    return set_condition(conditions, REMOVING, "False", "Removed", "What was to be removed is gone.", now, generation)


def _because(state: TargetState | None) -> str:
    if state is None:
        return ""
    why = f": {state.message.rstrip('.')}" if state.message else f" is {state.phase} and {state.health}"
    return f"; {TargetRef.parse(state.id).name}{why}"


def _truth(holds: bool) -> _Truth:
    return "True" if holds else "False"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

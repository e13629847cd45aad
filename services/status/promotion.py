"""The status of the workspace's own object, from those of its parts in the targets: values in, values out.

It is data of a tenant's object, for whoever looks at it there. Nobody in Moorage reads it back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.status.parts import Shown
from shared.api import Health
from shared.hub.kinds import Path, with_value
from shared.kube.times import seconds
from shared.model.report import ObjectHealth, PartCondition, PartStatus

_GRAVITY: tuple[Health, ...] = ("Unhealthy", "Degraded", "Unknown", "Progressing", "Healthy")
_ROLLED_OUT = "NewReplicaSetAvailable"
"""The reason of a Deployment that was rolled out completely; it stays until there is another rollout."""


class TargetPart(msgspec.Struct, frozen=True):
    """The object in one target; None where it is not there yet. `silent`: nothing is heard of that target now."""

    object: ObjectHealth | None
    silent: bool = False

    @property
    def status(self) -> PartStatus | None:
        return self.object.status if self.object is not None else None


def promoted(shown: Shown, parts: Sequence[TargetPart]) -> dict[str, Any]:
    """The status, by what is shown of the kind; `parts` in the order of the targets, those that have none yet as well.

    Empty where no target says anything yet.
    """
    told = [part for part in parts if part.status is not None]
    if not told:
        return {}
    status: dict[str, Any] = {}
    for name in shown.sums:
        status = with_value(status, _path(name), sum(_number(part, name, shown) for part in told))
    for name, value in _texts(shown, parts, told).items():
        status = with_value(status, _path(name), value)
    conditions = [
        found
        for names, combine in ((shown.every, _in_every), (shown.some, _in_some))
        for name in names
        if (found := combine(name, parts)) is not None
    ]
    if conditions:
        status["conditions"] = conditions
    if generation := observed_generation(parts):
        status["observedGeneration"] = generation
    return status


def observed_generation(parts: Sequence[TargetPart]) -> int:
    """The generation of the workspace's object that every target has taken up: where it was applied, and the target's
    controller has seen it. 0 where there is none, or where no controller of the kind says what it has seen.

    Of several targets, each has to be through with it besides, or stuck: that numbers add up to as many as one object
    asks for does not say that each target has its own.
    """
    if not any(part.status is not None and part.status.observed is not None for part in parts):
        return 0
    return max(0, min(_taken_up(part, alone=len(parts) == 1) for part in parts))


def _taken_up(part: TargetPart, *, alone: bool) -> int:
    found, status = part.object, part.status
    if found is None or status is None:
        return 0
    seen = status.generation >= found.generation and (status.observed or 0) >= status.generation
    through = alone or _rolled_out(found, status)
    return found.source_generation if seen and through else found.source_generation - 1


def _rolled_out(found: ObjectHealth, status: PartStatus) -> bool:
    """Whether a rollout is complete in a target, once, or stuck. A Deployment says so; of others, all is ready."""
    progressing = next((each for each in status.conditions if each.type == "Progressing"), None)
    if progressing is not None:
        return progressing.status == "False" or progressing.reason == _ROLLED_OUT
    return found.health not in ("Progressing", "Unknown")


def _number(part: TargetPart, name: str, shown: Shown) -> int:
    if part.status is None or (part.silent and name in shown.alive):
        return 0
    return part.status.numbers.get(name, 0)


def _texts(shown: Shown, parts: Sequence[TargetPart], told: Sequence[TargetPart]) -> Mapping[str, str]:
    texts = [part.status.texts for part in told if part.status is not None]
    found: dict[str, str] = {}
    for names, choose in ((shown.first, min), (shown.latest, max)):
        for name in names:
            if times := [each[name] for each in texts if name in each]:
                found[name] = choose(times, key=seconds)
    for name in shown.last:
        times = [each[name] for each in texts if name in each]
        if len(times) == len(parts):
            found[name] = max(times, key=seconds)
    worst = min(told, key=_rank).status
    found.update({name: worst.texts[name] for name in shown.worst if worst is not None and name in worst.texts})
    if shown.alike:
        pairs = [tuple(each.get(name, "") for name in shown.alike) for each in texts]
        chosen = next((pair for pair in pairs if len(set(pair)) > 1), pairs[0])
        found.update({name: value for name, value in zip(shown.alike, chosen, strict=True) if value})
    return found


def _rank(part: TargetPart) -> tuple[int, bool]:
    """The worst off first; among those that are well, one that still runs before one that ended."""
    assert part.object is not None
    return _GRAVITY.index(part.object.health), bool(part.object.ended)


def _in_every(name: str, parts: Sequence[TargetPart]) -> dict[str, str] | None:
    """A condition that is True where it is so in every target; absent as long as a target has not said anything."""
    found = [_condition(part, name) for part in parts]
    known = [each for each in found if each is not None]
    lacking = [each for each in known if each.status != "True"]
    if any(each.status == "False" for each in lacking):
        return _combined(name, "False", lacking, len(parts))
    if known and any(part.silent for part in parts):
        silent = sum(part.silent for part in parts)
        message = f"Nothing is heard of {silent} of {len(parts)} targets."
        return _entry(name, "Unknown", "TargetSilent", message, known)
    if lacking:
        return _combined(name, "Unknown", lacking, len(parts))
    if len(known) < len(parts):
        return None
    return _combined(name, "True", known, len(parts))


def _in_some(name: str, parts: Sequence[TargetPart]) -> dict[str, str] | None:
    """A condition that is True where it is so in any target."""
    known = [each for part in parts if (each := _condition(part, name)) is not None]
    holding = [each for each in known if each.status == "True"]
    if holding:
        return _combined(name, "True", holding, len(parts))
    return _combined(name, "False", known, len(parts)) if known else None


def _combined(name: str, status: str, those: Sequence[PartCondition], targets: int) -> dict[str, str]:
    """A condition as those targets have it that make it so: of several, as one that is not through with its rollout,
    or where it began last.
    """
    speaker = max(those, key=lambda each: (each.reason != _ROLLED_OUT, seconds(each.since)))
    message = speaker.message
    if targets > 1 and message:
        message = f"In {len(those)} of {targets} targets: {message}"
    return _entry(name, status, speaker.reason, message, those)


def _entry(name: str, status: str, reason: str, message: str, those: Sequence[PartCondition]) -> dict[str, str]:
    since = max((each.since for each in those), key=seconds)
    entry = {"type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
    return {key: value for key, value in entry.items() if value}


def _condition(part: TargetPart, name: str) -> PartCondition | None:
    status = part.status
    return next((each for each in status.conditions if each.type == name), None) if status is not None else None


def _path(name: str) -> Path:
    return tuple(name.split("."))

"""What the workspace's object shows of its parts, which run in targets: by kind, which fields of their status. Pure.

The kinds go by their rules of health (`Kind.health`). What a WorkloadKind declares is shown by its paths.
"""

from typing import Any

import msgspec

from services.status.rules.diagnosis import Object, mapping, number
from shared.hub.kinds import HealthRule, Kind, Path, value_at
from shared.kube.text import told
from shared.kube.times import seconds
from shared.model.report import PartCondition, PartStatus

_TEXT = 256  # bytes


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a status that are shown, by their paths below it.

    `sums` are numbers that are added up; those that are `alive` too do not count where nothing is heard of a target.
    Conditions in `every` are True where they are so in every target, those in `some` where they are in any. Of times,
    `first` are the earliest, `latest` the latest, and `last` the latest once each target has one. `worst` are texts of
    the target that is worst off; of two texts that are `alike` once all is rolled out, those of a target where they
    differ, if any.
    """

    sums: tuple[str, ...] = ()
    alive: frozenset[str] = frozenset()
    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    latest: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    worst: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()


_PODS = ("replicas", "readyReplicas", "availableReplicas")
_READY = frozenset({"readyReplicas", "availableReplicas"})

SHOWN: dict[HealthRule, Shown] = {
    "cron_job": Shown(latest=("lastScheduleTime", "lastSuccessfulTime")),
    "daemon_set": Shown(
        sums=(
            "currentNumberScheduled", "desiredNumberScheduled", "numberAvailable", "numberMisscheduled", "numberReady",
            "updatedNumberScheduled",
        ),
        alive=frozenset({"numberAvailable", "numberReady"}),
    ),
    "deployment": Shown(
        sums=(*_PODS, "updatedReplicas"), alive=_READY, every=("Available", "Progressing"), some=("ReplicaFailure",)
    ),
    "job": Shown(
        sums=("active", "failed", "ready", "succeeded"),
        alive=frozenset({"ready"}),
        every=("Complete", "SuccessCriteriaMet"),
        some=("Failed", "FailureTarget", "Suspended"),
        first=("startTime",),
        last=("completionTime",),
    ),
    "pod": Shown(every=("PodScheduled", "Initialized", "ContainersReady", "Ready"), worst=("phase",)),
    "replica_set": Shown(sums=(*_PODS, "fullyLabeledReplicas"), alive=_READY, some=("ReplicaFailure",)),
    "stateful_set": Shown(
        sums=(*_PODS, "currentReplicas", "updatedReplicas"), alive=_READY, alike=("currentRevision", "updateRevision")
    ),
}  # fmt: skip
"""Other rules, and thus kinds, have nothing to show: they have no state, or none of which there is a sum."""

_GOOD = frozenset({"Healthy", "Succeeded"})


def shown(kind: Kind) -> Shown | None:
    """What is shown of a kind; None where nothing is."""
    if not kind.declared:
        return SHOWN.get(kind.health)
    ready = _below_status(kind.ready)
    found = Shown(
        sums=ready,
        alive=frozenset(ready),
        every=tuple(each.condition for each in kind.states if each.condition and each.means in _GOOD),
        some=tuple(each.condition for each in kind.states if each.condition and each.means not in _GOOD),
        worst=tuple(dict.fromkeys(name for each in kind.states for name in _below_status(each.path))),
    )
    return found if found != Shown() else None


def part_of(obj: Object, kind: Kind) -> PartStatus | None:
    """What an object in a target says of what is shown; None where nothing is shown of its kind."""
    fields = shown(kind)
    if fields is None:
        return None
    status = mapping(obj, "status")
    observed = status.get("observedGeneration")
    times, texts = (*fields.first, *fields.latest, *fields.last), (*fields.worst, *fields.alike)
    return PartStatus(
        generation=number(mapping(obj, "metadata"), "generation"),
        observed=observed if _is_number(observed) else None,
        numbers={name: found for name in fields.sums if _is_number(found := value_at(status, _path(name)))},
        texts={
            **{name: found for name in times if (found := _time(value_at(status, _path(name))))},
            **{name: told(found, _TEXT) for name in texts if isinstance(found := value_at(status, _path(name)), str)},
        },
        conditions=tuple(_conditions(status, {*fields.every, *fields.some})),
    )


def _conditions(status: dict[str, Any], wanted: set[str]) -> list[PartCondition]:
    found = status.get("conditions")
    return [
        PartCondition(
            type=each["type"],
            status=told(str(each.get("status", "")), _TEXT),
            reason=told(str(each.get("reason") or ""), _TEXT),
            message=told(str(each.get("message") or "")),
            since=_time(each.get("lastTransitionTime")),
        )
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict) and isinstance(each.get("type"), str) and each["type"] in wanted
    ]


def _below_status(path: Path | None) -> tuple[str, ...]:
    return (".".join(path[1:]),) if path is not None and len(path) > 1 and path[0] == "status" else ()


def _path(name: str) -> Path:
    return tuple(name.split("."))


def _time(value: object) -> str:
    """A time as Kubernetes writes it; empty for what is none, which the hub would refuse."""
    return value if isinstance(value, str) and len(value) <= _TEXT and seconds(value) > 0 else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

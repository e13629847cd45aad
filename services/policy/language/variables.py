"""Variables and fields for rules, as literal tables: every variable, every field, its type, where its value comes from.

The tables serve the evaluator (values), the checker (types), the columns (one field over all targets) and the
reference documentation. Values are plain Python; amounts are doubles in base units (cores, bytes, pieces), so that
`target.capacity["cpu"] > 4.0` compares like with like whatever notation the amounts arrived in.

Types are written as CEL writes them: `string`, `bool`, `int`, `double`, `timestamp`, `list<T>`, `map<K, V>`, or the
name of a record below.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.model.request import Request
from shared.model.resources import Resources
from shared.model.target import Target

Plain = Any
"""A value of a rule: str, bool, int, float, datetime, list of Plain, dict from str to Plain."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the record `Target`. `read` gives None where the target has no such field."""

    type: str
    read: Callable[[Target, float], Plain]
    description: str
    volatile: bool = False
    """True if the value depends on the time of evaluation as well, and so cannot be kept."""
    alike: Callable[[Target], Hashable] | None = None
    """Where `read` takes long: something that is equal for equal values only, and quick to have."""


def amounts(resources: Mapping[str, float]) -> Resources:
    """Amounts as CEL sees them: doubles, and no negative zero (which prints and hashes unlike zero)."""
    return {name: float(amount) + 0.0 for name, amount in resources.items()}


def available(target: Target) -> Resources:
    """The free amounts of the target: allocatable less what others than Moorage have requested, at least 0."""
    return {
        name: max(0.0, float(amount) - target.allocated.get(name, 0.0)) for name, amount in target.allocatable.items()
    }


def _taints(target: Target, _now: float) -> Plain:
    return [{"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in target.taints]


def _apis(target: Target, _now: float) -> Plain:
    return [
        {
            "group": api.group,
            "resource": api.resource,
            "kind": api.kind,
            "versions": list(api.versions),
            "namespaced": api.namespaced,
        }
        for api in target.apis
    ]


def _scores(target: Target, now: float) -> Plain:
    return {
        name: float(score.value) + 0.0
        for name, score in target.scores.items()
        if score.valid_until is None or score.valid_until > now
    }


def _cost(target: Target, _now: float) -> Plain:
    known = {"perCpuHour": target.cost_per_cpu_hour, "perGiBHour": target.cost_per_gib_hour}
    cost = {name: float(price) for name, price in known.items() if price is not None}
    return cost or None


TARGET: dict[str, Field] = {
    "id": Field("string", lambda t, _: t.id, "`<workspace>/<name>`, unique over all workspaces"),
    "name": Field("string", lambda t, _: t.name, "Name of the SyncTarget"),
    "workspace": Field("string", lambda t, _: t.workspace, "Path of the workspace that offers it"),
    "labels": Field("map<string, string>", lambda t, _: t.labels, "Labels of the SyncTarget"),
    "taints": Field("list<Taint>", _taints, "Taints of the SyncTarget", alike=lambda t: t.taints),
    "unschedulable": Field("bool", lambda t, _: t.unschedulable, "Whether new placements are refused"),
    "ready": Field("bool", lambda t, _: t.ready, "Whether it is healthy now"),
    "capacity": Field("map<string, double>", lambda t, _: amounts(t.capacity), "All that its nodes have"),
    "allocatable": Field("map<string, double>", lambda t, _: amounts(t.allocatable), "What workloads may request"),
    "allocated": Field(
        "map<string, double>", lambda t, _: amounts(t.allocated), "Requests of what Moorage did not place"
    ),
    "available": Field("map<string, double>", lambda t, _: amounts(available(t)), "Allocatable less allocated"),
    "usage": Field("map<string, double>", lambda t, _: amounts(t.usage), "Observed use, where metrics are served"),
    "apis": Field("list<Api>", _apis, "The kinds it serves", alike=lambda t: t.apis),
    "latency": Field("map<string, double>", lambda t, _: amounts(t.latency), "Milliseconds from each origin"),
    "scores": Field(
        "map<string, double>",
        _scores,
        "Scores on its SyncTarget that are valid now, 0 to 100",
        volatile=True,
    ),
    "kubernetesVersion": Field("string", lambda t, _: t.kubernetes_version, "Version of its API server"),
    "nodes": Field("int", lambda t, _: t.nodes, "How many nodes it has"),
    "cost": Field("Cost", _cost, "Its prices; the field is absent where none is known"),
}

RECORDS: dict[str, dict[str, str]] = {
    "Target": {name: field.type for name, field in TARGET.items()},
    "Taint": {"key": "string", "value": "string", "effect": "string"},
    "Api": {
        "group": "string",
        "resource": "string",
        "kind": "string",
        "versions": "list<string>",
        "namespaced": "bool",
    },
    "Cost": {"perCpuHour": "double", "perGiBHour": "double"},
    "Placement": {"namespace": "string", "name": "string", "labels": "map<string, string>", "priority": "int"},
    "WorkloadObject": {
        "apiVersion": "string",
        "kind": "string",
        "namespace": "string",
        "name": "string",
        "replicas": "int",
        "requests": "map<string, double>",
        "labels": "map<string, string>",
    },
    "Request": {"user": "string", "groups": "list<string>"},
}

VARIABLES: dict[str, tuple[str, str]] = {
    "target": ("Target", "The target that is judged"),
    "workspace": ("string", "Path of the workspace that owns the Placement"),
    "placement": ("Placement", "The Placement"),
    "workload": ("list<WorkloadObject>", "The objects that are to be placed"),
    "request": ("Request", "Who created the Placement"),
    "now": ("timestamp", "When the rule is evaluated"),
}


def read_target(target: Target, now: float, fields: frozenset[str] | None = None) -> dict[str, Plain]:
    """The variable `target`, with the given fields only or with all; fields without a value are absent."""
    names = TARGET if fields is None else fields
    values = {name: TARGET[name].read(target, now) for name in names if name in TARGET}
    return {name: value for name, value in values.items() if value is not None}


def read_request(request: Request, now: float) -> dict[str, Plain]:
    """The variables beside `target`; `now` in seconds since the epoch."""
    requester = request.requester
    return {
        "workspace": request.placement.workspace,
        "placement": {
            "namespace": request.placement.namespace,
            "name": request.placement.name,
            "labels": dict(request.labels),
            "priority": request.spec.priority,
        },
        "workload": [
            {
                "apiVersion": each.api_version,
                "kind": each.kind,
                "namespace": each.namespace,
                "name": each.name,
                **({} if each.replicas is None else {"replicas": each.replicas}),
                "requests": amounts(each.requests),
                "labels": dict(each.labels),
            }
            for each in request.workload
        ],
        "request": {
            "user": requester.username if requester else "",
            "groups": list(requester.groups) if requester else [],
        },
        "now": datetime.fromtimestamp(now, UTC),
    }

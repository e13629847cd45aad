"""Variables and fields for rules, as literal tables: every variable, every field, its type, where its value comes from.

The tables serve the evaluator (values), the checker (types), the columns (one field over all targets) and the
reference documentation. Values are plain Python; amounts are doubles in base units (cores, bytes, pieces), so that
`target.capacity["cpu"] > 4.0` compares like with like whatever notation the amounts arrived in.

Types are written as CEL writes them: `string`, `bool`, `int`, `double`, `timestamp`, `list<T>`, `map<K, V>`, or the
name of a record below.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
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
    entry: Callable[[str], Callable[[Target], Plain]] | None = None
    """What reads one entry of it, where that is quicker than reading all; None where there is no such entry."""
    attribute: str = ""
    """The attribute of a target that is the value itself, where there is one."""


def amounts(resources: Mapping[str, float]) -> Resources:
    """Amounts as CEL sees them: doubles, and no negative zero (which prints and hashes unlike zero)."""
    return {name: float(amount) + 0.0 for name, amount in resources.items()}


def available(target: Target) -> Resources:
    """The free amounts of the target: allocatable less what others than Moorage have requested, at least 0."""
    return {
        name: max(0.0, float(amount) - target.allocated.get(name, 0.0)) for name, amount in target.allocatable.items()
    }


def _amount(of: Callable[[Target], Mapping[str, float]]) -> Callable[[str], Callable[[Target], float | None]]:
    """Reads one of some amounts, as `amounts` has it."""

    def entry(name: str) -> Callable[[Target], float | None]:
        def read(target: Target) -> float | None:
            amount = of(target).get(name)
            return None if amount is None else float(amount) + 0.0

        return read

    return entry


def _available(name: str) -> Callable[[Target], float | None]:
    def read(target: Target) -> float | None:
        amount = target.allocatable.get(name)
        return None if amount is None else max(0.0, float(amount) - target.allocated.get(name, 0.0)) + 0.0

    return read


def _price(name: str) -> Callable[[Target], float | None]:
    if name not in _PRICES:
        return lambda _: None
    price_of = attrgetter(_PRICES[name])

    def read(target: Target) -> float | None:
        price = price_of(target)
        return None if price is None else float(price) + 0.0

    return read


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


_PRICES = {"perCpuHour": "cost_per_cpu_hour", "perGiBHour": "cost_per_gib_hour"}


def _cost(target: Target, _now: float) -> Plain:
    known = {name: getattr(target, attribute) for name, attribute in _PRICES.items()}
    return {name: float(price) for name, price in known.items() if price is not None} or None


TARGET: dict[str, Field] = {
    "id": Field("string", lambda t, _: t.id, "`<workspace>/<name>`, unique over all workspaces", attribute="id"),
    "name": Field("string", lambda t, _: t.name, "Name of the SyncTarget", attribute="name"),
    "workspace": Field(
        "string", lambda t, _: t.workspace, "Path of the workspace that offers it", attribute="workspace"
    ),
    "labels": Field(
        "map<string, string>",
        lambda t, _: t.labels,
        "Labels of the SyncTarget",
        entry=lambda key: lambda t: t.labels.get(key),
    ),
    "taints": Field("list<Taint>", _taints, "Taints of the SyncTarget", alike=attrgetter("taints")),
    "unschedulable": Field(
        "bool", lambda t, _: t.unschedulable, "Whether new placements are refused", attribute="unschedulable"
    ),
    "ready": Field("bool", lambda t, _: t.ready, "Whether it is healthy now", attribute="ready"),
    "capacity": Field(
        "map<string, double>",
        lambda t, _: amounts(t.capacity),
        "All that its nodes have",
        entry=_amount(attrgetter("capacity")),
    ),
    "allocatable": Field(
        "map<string, double>",
        lambda t, _: amounts(t.allocatable),
        "What workloads may request",
        entry=_amount(attrgetter("allocatable")),
    ),
    "allocated": Field(
        "map<string, double>",
        lambda t, _: amounts(t.allocated),
        "Requests of what Moorage did not place",
        entry=_amount(attrgetter("allocated")),
    ),
    "available": Field(
        "map<string, double>", lambda t, _: amounts(available(t)), "Allocatable less allocated", entry=_available
    ),
    "usage": Field(
        "map<string, double>",
        lambda t, _: amounts(t.usage),
        "Observed use, where metrics are served",
        entry=_amount(attrgetter("usage")),
    ),
    "apis": Field("list<Api>", _apis, "The kinds it serves", alike=attrgetter("apis")),
    "latency": Field(
        "map<string, double>",
        lambda t, _: amounts(t.latency),
        "Milliseconds from each origin",
        entry=_amount(attrgetter("latency")),
    ),
    "scores": Field(
        "map<string, double>",
        _scores,
        "Scores on its SyncTarget that are valid now, 0 to 100",
        volatile=True,
    ),
    "kubernetesVersion": Field(
        "string", lambda t, _: t.kubernetes_version, "Version of its API server", attribute="kubernetes_version"
    ),
    "nodes": Field("int", lambda t, _: t.nodes, "How many nodes it has", attribute="nodes"),
    "cost": Field("Cost", _cost, "Its prices; the field is absent where none is known", entry=_price),
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

PARAMS = "$params"
"""The name under which a policy's parameters, as JSON, stand among its variables: no variable can have it. What follows
from an expression's `params` is as if the object were written there."""


def type_at(path: Sequence[str]) -> str:
    """The type of a path of `target`, an empty string where it has none that the tables know."""
    if not path or path[0] not in TARGET:
        return ""
    declared = TARGET[path[0]].type
    if len(path) == 1:
        return declared
    if len(path) > 2:
        return ""
    if declared.startswith("map<string, "):
        return declared.removeprefix("map<string, ").removesuffix(">")
    return RECORDS.get(declared, {}).get(path[1], "")


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
    found = {}
    for name in TARGET if fields is None else fields:
        field = TARGET.get(name)
        if field is not None and (value := field.read(target, now)) is not None:
            found[name] = value
    return found


def read_targets(targets: Sequence[Target], now: float, fields: frozenset[str] | None = None) -> list[dict[str, Plain]]:
    """`read_target` of each: one field after the other, which is quicker for many."""
    found: list[dict[str, Plain]] = [{} for _ in targets]
    for name in TARGET if fields is None else fields:
        if (field := TARGET.get(name)) is not None:
            for target, values in zip(targets, found, strict=True):
                if (value := field.read(target, now)) is not None:
                    values[name] = value
    return found


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

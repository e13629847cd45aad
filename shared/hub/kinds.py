"""The kinds that Moorage knows: where each keeps its pods, how many they are, and by which rule it is healthy.

One table for all that have to agree: what is counted (controller, scheduler), followed (controller, binding), divided
(binding) and judged (status). A kind goes by its group too: a StatefulSet of another group is another kind. What
workspaces declare by WorkloadKinds comes to it, see `shared.hub.declared`; the kinds of this table cannot be declared
otherwise.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from shared.api import StateMeaning
from shared.kube.resources import group_of

Path = tuple[str, ...]
"""The names of the fields that lead from an object to a value in it."""

HealthRule = Literal[
    "claim", "cron_job", "daemon_set", "definition", "deployment", "existing", "generic", "job", "pod",
    "replica_set", "service", "stateful_set",
]  # fmt: skip
"""Status has a function for each."""


class Count(msgspec.Struct, frozen=True):
    """A number by which pods are multiplied, what it is where it is absent, and the fields that bound it."""

    path: Path
    default: int = 1
    at_least: Path | None = None
    at_most: Path | None = None


class PodSet(msgspec.Struct, frozen=True, kw_only=True):
    """Pods of one template; with `each`, of one template per item of that list or map. Their number is the product of
    `counts`. The paths of the latter two begin at the item.
    """

    each: Path | None = None
    template: Path
    counts: tuple[Count, ...] = ()


class NamedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A field that names an object of the namespace; with `each`, a field of every item of that list or map. With
    `kind_at` it may name others, too: that field says of which kind.
    """

    path: Path
    kind: str
    each: Path | None = None
    optional: bool = False
    kind_at: Path | None = None


class StateSign(msgspec.Struct, frozen=True, kw_only=True):
    """What a condition that is True means, or a field that has one of some values (none: any)."""

    means: StateMeaning
    condition: str = ""
    path: Path | None = None
    values: tuple[str, ...] = ()


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Facts on a kind. Paths are None for what it does not have.

    `pods` is the pod template, which is also where references are; the empty path means that the object is a pod
    itself. `replicas` are the pods that it keeps; they can be divided among targets. `parallelism` are the pods of one
    run that work at the same time, `completions` those that have to succeed. A `recurring` kind starts runs on its
    own account. One that is `on_every_node` has a pod on each node of a target. One that `ends` may run to its
    end, and where `expires` is set it is deleted some time after that. A number that is absent means one.

    A kind of several `sets` of pods is counted as a whole, and never divided.

    A kind that `autoscales` lets the replicas of another object grow up to its own `spec.maxReplicas`. One that
    `unsettles` changes what other objects ask for, or how many pods they have, after all was counted; another does so
    where a field of `grows` is true.

    `known` is false for a kind that nobody has said anything of, `declared` is true for what a workspace says.
    """

    pods: Path | None = None
    sets: tuple[PodSet, ...] = ()
    replicas: Path | None = None
    ready: Path | None = None
    parallelism: Path | None = None
    completions: Path | None = None
    recurring: bool = False
    on_every_node: bool = False
    ends: bool = False
    expires: Path | None = None
    autoscales: bool = False
    unsettles: bool = False
    grows: tuple[Path, ...] = ()
    references: tuple[NamedIn, ...] = ()
    states: tuple[StateSign, ...] = ()
    health: HealthRule = "generic"
    known: bool = True
    declared: bool = False

    @property
    def counted(self) -> Path | None:
        """The number that counts as replicas. A recurring kind has none: one of its runs counts as a whole."""
        return None if self.recurring else self.replicas or self.parallelism

    @property
    def has_pods(self) -> bool:
        return self.pods is not None or bool(self.sets)


_SPEC = ("spec",)
_TEMPLATE = (*_SPEC, "template")
_REPLICAS = (*_SPEC, "replicas")
_RUN = (*_SPEC, "jobTemplate", "spec")
_TIME_TO_LIVE = (*_SPEC, "ttlSecondsAfterFinished")

_CLAIM = "PersistentVolumeClaim"
_SOURCE = (*_SPEC, "dataSource")  # an API server has the same in dataSourceRef


def _cloned(each: Path | None = None) -> NamedIn:
    """A claim that another one is a copy of."""
    return NamedIn(each=each, path=(*_SOURCE, "name"), kind=_CLAIM, kind_at=(*_SOURCE, "kind"))


KINDS: dict[tuple[str, str], Kind] = {
    ("", "ConfigMap"): Kind(health="existing"),
    ("", "LimitRange"): Kind(unsettles=True),
    ("", _CLAIM): Kind(health="claim", references=(_cloned(),)),
    ("", "Pod"): Kind(pods=(), ends=True, health="pod"),
    ("", "PodTemplate"): Kind(health="existing"),  # nothing runs of it
    ("", "ReplicationController"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="replica_set"),
    ("", "Secret"): Kind(health="existing"),
    ("", "Service"): Kind(health="service"),
    ("", "ServiceAccount"): Kind(
        health="existing", references=(NamedIn(each=("imagePullSecrets",), path=("name",), kind="Secret"),)
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Kind(health="definition"),
    ("apps", "ControllerRevision"): Kind(health="existing"),  # a memory of templates
    ("apps", "DaemonSet"): Kind(pods=_TEMPLATE, on_every_node=True, health="daemon_set"),
    ("apps", "Deployment"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="deployment"),
    ("apps", "ReplicaSet"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="replica_set"),
    ("apps", "StatefulSet"): Kind(
        pods=_TEMPLATE,
        replicas=_REPLICAS,
        health="stateful_set",
        references=(
            NamedIn(path=(*_SPEC, "serviceName"), kind="Service"),
            _cloned(each=(*_SPEC, "volumeClaimTemplates")),
        ),
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): Kind(autoscales=True),
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"): Kind(unsettles=True),
    ("batch", "CronJob"): Kind(
        pods=(*_RUN, "template"),
        parallelism=(*_RUN, "parallelism"),
        completions=(*_RUN, "completions"),
        recurring=True,
        health="cron_job",
    ),
    ("batch", "Job"): Kind(
        pods=_TEMPLATE,
        parallelism=(*_SPEC, "parallelism"),
        completions=(*_SPEC, "completions"),
        ends=True,
        health="job",
    ),
    ("keda.sh", "ScaledObject"): Kind(unsettles=True),
    ("networking.k8s.io", "Ingress"): Kind(
        health="existing",
        references=(
            NamedIn(each=(*_SPEC, "tls"), path=("secretName",), kind="Secret"),
            NamedIn(each=(*_SPEC, "rules", "http", "paths"), path=("backend", "service", "name"), kind="Service"),
            NamedIn(path=(*_SPEC, "defaultBackend", "service", "name"), kind="Service"),
        ),
    ),
    ("policy", "PodDisruptionBudget"): Kind(health="existing"),
}
"""By group and kind."""

UNKNOWN: Final = Kind(known=False)
"""A kind that is not in the table, and that nobody declares: it has no pods, and is judged by its conditions."""


class Kinds(msgspec.Struct, frozen=True):
    """The kinds that a workspace knows: the built-in ones, and those `declared` for it, by group and kind."""

    declared: Mapping[tuple[str, str], Kind] = {}

    def named(self, api_version: str, kind: str) -> Kind:
        """The facts on a kind."""
        name = (group_of(api_version), kind)
        return KINDS.get(name) or self.declared.get(name) or UNKNOWN

    def of(self, obj: Mapping[str, Any]) -> Kind:
        """The facts on an object's kind."""
        return self.named(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))


BUILT_IN: Final = Kinds()
"""What a workspace knows where nobody declared any kind."""


def kind_named(api_version: str, kind: str) -> Kind:
    """The facts on a built-in kind; `UNKNOWN` for all others."""
    return BUILT_IN.named(api_version, kind)


def is_built_in(api_version: str, kind: str) -> bool:
    """Whether a kind is what it is in every workspace."""
    return (group_of(api_version), kind) in KINDS


def pod_sets(obj: Mapping[str, Any], kind: Kind) -> Iterator[tuple[dict[str, Any], int]]:
    """The pod templates of an object, each with the number of its pods, or of those of one replica where the kind has
    replicas. Raises ValueError for a count that is no number.
    """
    if kind.pods is not None:
        yield _mapping(value_at(obj, kind.pods)), 1
    for each in kind.sets:
        for item in items_at(obj, each.each):
            number = 1
            for count in each.counts:
                number *= _counted(item, count)
            yield _mapping(value_at(item, each.template)), number


def _counted(item: Any, count: Count) -> int:
    number = whole_number(item, count.path, count.default)
    if count.at_least is not None:
        number = max(number, whole_number(item, count.at_least, number))
    if count.at_most is not None:
        number = min(number, whole_number(item, count.at_most, number))
    return number


def pod_templates(obj: Mapping[str, Any], kind: Kind) -> list[dict[str, Any]]:
    """The pod templates of an object (the object itself, if it is a Pod); none for a kind without pods."""
    found = [] if kind.pods is None else [_mapping(value_at(obj, kind.pods))]
    for each in kind.sets:
        found += [_mapping(value_at(item, each.template)) for item in items_at(obj, each.each)]
    return found


def expires(obj: Mapping[str, Any], kind: Kind) -> bool:
    """Whether an object is deleted by its cluster some time after it ran to its end."""
    return kind.ends and any(value_at(obj, path) is not None for path in (_TIME_TO_LIVE, kind.expires) if path)


def looks_like_pods(obj: Any) -> bool:
    """Whether an object of a kind that nobody knows has containers somewhere, which nobody would count."""
    todo = [obj]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            containers = value.get("containers")
            if isinstance(containers, list) and any(map(_is_container, containers)):
                return True
            todo += value.values()
        elif isinstance(value, list):
            todo += value
    return False


def _is_container(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("name", "image"))


MOST_REPLICAS = 2**31 - 1
"""The API has 32 bits for them."""


def whole_number(obj: Any, path: Path, default: int = 1) -> int:
    """A number of pods. Raises ValueError, with the path, for what is none."""
    found = value_at(obj, path, default)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_REPLICAS:
        raise ValueError(f"{'.'.join(path)}: {str(found)[:20]!r} is no number of replicas")
    return found


def at_once(obj: Any, kind: Kind) -> int:
    """How many pods there are at most at one time: of a run with `completions` never more than these, whatever the
    parallelism. Raises ValueError as `whole_number`.
    """
    path = kind.replicas or kind.parallelism
    number = whole_number(obj, path) if path else 1
    if kind.completions is None or value_at(obj, kind.completions) is None:
        return number
    return min(number, whole_number(obj, kind.completions))


def items_at(obj: Mapping[str, Any], each: Path | None) -> list[Any]:
    """The items of a list or map at a path, through lists on the way; or the object itself. None where there is
    something else.
    """
    if each is None:
        return [obj]
    *outer, last = each
    holders: list[Any] = [obj]
    for name in outer:
        found = (value_at(holder, (name,)) for holder in holders)
        holders = [item for value in found for item in (value if isinstance(value, list) else [value])]
    items: list[Any] = []
    for holder in holders:
        value = value_at(holder, (last,))
        items += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return items


def value_at(obj: Any, path: Path, default: Any = None) -> Any:
    """The value at a path; `default` where there is none, or null."""
    for name in path:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return default if obj is None else obj


def with_value(obj: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of an object with another value at a path; the original and what both share stay as they are.

    Raises TypeError where what the path leads through is no mapping.
    """
    name, *rest = path
    if not rest:
        return {**obj, name: value}
    inner = obj.get(name, {})
    if not isinstance(inner, Mapping):
        raise TypeError(f"{name} is no mapping")
    return {**obj, name: with_value(inner, tuple(rest), value)}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

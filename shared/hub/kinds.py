"""The kinds that Moorage knows: where each keeps its pods, how many they are, and by which rule it is healthy.

One table for all that have to agree: what is counted (controller, scheduler), followed (controller, binding), divided
(binding) and judged (status). A kind goes by its group too: a StatefulSet of another group is another kind.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from shared.kube.resources import group_of

Path = tuple[str, ...]
"""The names of the fields that lead from an object to a value in it."""

HealthRule = Literal[
    "claim", "cron_job", "daemon_set", "definition", "deployment", "existing", "generic", "job", "pod", "replica_set",
    "service", "stateful_set",
]  # fmt: skip
"""Status has a function for each."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Facts on a kind. Paths are None for what it does not have.

    `pods` is the pod template, which is also where references are; the empty path means that the object is a pod
    itself. `replicas` are the pods that it keeps; they can be divided among targets. `parallelism` are the pods of one
    run that work at the same time, `completions` those that have to succeed. A `recurring` kind starts runs on its
    own account. One that is `on_every_node` has a pod on each node of a target. A number that is absent means one.

    A kind that `autoscales` lets the replicas of another object grow up to its own `spec.maxReplicas`. One that
    `unsettles` changes what other objects ask for, or how many pods they have, after all was counted.
    """

    pods: Path | None = None
    replicas: Path | None = None
    parallelism: Path | None = None
    completions: Path | None = None
    recurring: bool = False
    on_every_node: bool = False
    autoscales: bool = False
    unsettles: bool = False
    health: HealthRule = "generic"

    @property
    def counted(self) -> Path | None:
        """The number that counts as replicas. A recurring kind has none: one of its runs counts as a whole."""
        return None if self.recurring else self.replicas or self.parallelism


_SPEC = ("spec",)
_TEMPLATE = (*_SPEC, "template")
_REPLICAS = (*_SPEC, "replicas")
_RUN = (*_SPEC, "jobTemplate", "spec")

KINDS: dict[tuple[str, str], Kind] = {
    ("", "ConfigMap"): Kind(health="existing"),
    ("", "LimitRange"): Kind(unsettles=True),
    ("", "PersistentVolumeClaim"): Kind(health="claim"),
    ("", "Pod"): Kind(pods=(), health="pod"),
    ("", "ReplicationController"): Kind(pods=_TEMPLATE, replicas=_REPLICAS),
    ("", "Secret"): Kind(health="existing"),
    ("", "Service"): Kind(health="service"),
    ("", "ServiceAccount"): Kind(health="existing"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Kind(health="definition"),
    ("apps", "DaemonSet"): Kind(pods=_TEMPLATE, on_every_node=True, health="daemon_set"),
    ("apps", "Deployment"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="deployment"),
    ("apps", "ReplicaSet"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="replica_set"),
    ("apps", "StatefulSet"): Kind(pods=_TEMPLATE, replicas=_REPLICAS, health="stateful_set"),
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
        pods=_TEMPLATE, parallelism=(*_SPEC, "parallelism"), completions=(*_SPEC, "completions"), health="job"
    ),
    ("keda.sh", "ScaledJob"): Kind(unsettles=True),
    ("keda.sh", "ScaledObject"): Kind(unsettles=True),
    ("networking.k8s.io", "Ingress"): Kind(health="existing"),
    ("policy", "PodDisruptionBudget"): Kind(health="existing"),
}
"""By group and kind."""

_OTHER = Kind()


def kind_named(api_version: str, kind: str) -> Kind:
    """The facts on a kind; one that is not in the table has no pods, and is judged by its conditions."""
    return KINDS.get((group_of(api_version), kind), _OTHER)


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The facts on an object's kind, as `kind_named`."""
    return kind_named(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))


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

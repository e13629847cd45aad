"""What an object asks for: its replicas, and the requests of one of them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.kube.apply import content_hash, strip_server_fields
from shared.kube.pods import effective_requests
from shared.kube.quantity import QuantityError, parse_quantity
from shared.kube.references import Reference, pod_labels, references
from shared.model import Resources, WorkloadObject

POD_SPECS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "ReplicationController": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""Where each kind keeps its pods' spec."""

REPLICAS: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "replicas"),
    "StatefulSet": ("spec", "replicas"),
    "ReplicaSet": ("spec", "replicas"),
    "ReplicationController": ("spec", "replicas"),
    "Job": ("spec", "parallelism"),
}
"""Where each kind keeps its number of replicas; absent there means one."""


class Selected(msgspec.Struct, frozen=True):
    """One object of a workload, as the pipeline needs to know it, and what goes along with it by reference."""

    summary: WorkloadObject
    references: tuple[Reference, ...] = ()
    pod_labels: dict[str, str] | None = None


def select(obj: Mapping[str, Any], default_namespace: str = "") -> Selected:
    """An object of a workload. Raises ValueError for requests that are no quantities."""
    return Selected(summarize(obj, default_namespace), tuple(references(obj)), pod_labels(obj))


def summarize(obj: Mapping[str, Any], default_namespace: str = "") -> WorkloadObject:
    """One object of a workload, as the pipeline needs to know it.

    Raises ValueError for requests that are no quantities.
    """
    kind = str(obj.get("kind", ""))
    metadata = obj.get("metadata") or {}
    replicas = _at(obj, REPLICAS[kind], 1) if kind in REPLICAS else None
    return WorkloadObject(
        api_version=str(obj.get("apiVersion", "")),
        kind=kind,
        namespace=metadata.get("namespace") or default_namespace,
        name=metadata.get("name") or "",
        replicas=replicas if replicas is None else int(replicas),
        requests=pod_requests(_at(obj, POD_SPECS[kind], {})) if kind in POD_SPECS else {},
        labels=metadata.get("labels") or {},
        hash=content_hash(strip_server_fields(obj)),
    )


def pod_requests(spec: Mapping[str, Any]) -> Resources:
    """What one pod asks for, after kube-scheduler's rule (`effective_requests`)."""
    return effective_requests(
        [_requests(container) for container in spec.get("containers") or ()],
        [(_requests(each), each.get("restartPolicy") == "Always") for each in spec.get("initContainers") or ()],
        pod_level=_requests(spec),
        overhead=_quantities(spec.get("overhead") or {}),
    )


def _requests(holder: Mapping[str, Any]) -> Resources:
    """The requests of a container, or of a pod as a whole; where only a limit is given, that is the request."""
    resources = holder.get("resources") or {}
    return {**_quantities(resources.get("limits") or {}), **_quantities(resources.get("requests") or {})}


def _quantities(raw: Mapping[str, Any]) -> Resources:
    parsed = {}
    for name, quantity in raw.items():
        try:
            parsed[name] = parse_quantity(quantity)
        except QuantityError as error:
            raise ValueError(f"request for {name}: {error}") from None
    return parsed


def _at(obj: Any, path: tuple[str, ...], default: Any) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return default if obj is None else obj

"""What an object asks for: its replicas, and the requests of one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.hub.kinds import Kind, Path, kind_of, value_at
from shared.hub.pods import effective_requests
from shared.hub.references import Reference, pod_labels, references
from shared.hub.rendering import ceilings, scaled, source_hash
from shared.hub.terms import is_guarded
from shared.kube.quantity import QuantityError, parse_quantity
from shared.model.request import WorkloadObject
from shared.model.resources import Resources

MOST_REPLICAS = 2**31 - 1
"""The API has 32 bits for them."""


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

    Raises ValueError for requests that are no quantities, and for an object that its API server would not have taken.
    """
    kind, metadata = kind_of(obj), obj.get("metadata") or {}
    try:
        return WorkloadObject(
            api_version=str(obj.get("apiVersion", "")),
            kind=str(obj.get("kind", "")),
            namespace=metadata.get("namespace") or default_namespace,
            name=metadata.get("name") or "",
            replicas=None if kind.counted is None else _number(obj, kind.counted),
            requests={} if kind.pods is None else _requests_of(obj, kind, kind.pods),
            labels=metadata.get("labels") or {},
            hash=source_hash(obj),
            guarded=is_guarded(obj),
        )
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None


def summarize_all(objects: Sequence[dict[str, Any]]) -> tuple[WorkloadObject, ...]:
    """What is placed together, in the order of its names: who is scaled up to a number counts as that many replicas.

    Raises ValueError as `summarize`, with the name of the object.
    """
    most, found = ceilings(objects), []
    for obj in objects:
        try:
            one = summarize(obj)
        except ValueError as error:
            raise ValueError(f"{obj.get('kind')} {obj['metadata']['name']}: {error}") from None
        if one.replicas is not None:
            one = msgspec.structs.replace(one, replicas=max(one.replicas, most.get(scaled(obj), 0)))
        found.append(one)
    return tuple(sorted(found, key=lambda each: each.ref))


def _requests_of(obj: Mapping[str, Any], kind: Kind, pods: Path) -> Resources:
    """What one replica asks for; of a recurring kind, which has none, one run with all its pods."""
    one = pod_requests(value_at(obj, (*pods, "spec"), {}))
    at_once = _number(obj, kind.parallelism) if kind.recurring and kind.parallelism else 1
    return {name: amount * at_once for name, amount in one.items()} if at_once != 1 else one


def _number(obj: Mapping[str, Any], path: Path) -> int:
    found = value_at(obj, path, 1)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_REPLICAS:
        raise ValueError(f"{'.'.join(path)}: {str(found)[:20]!r} is no number of replicas")
    return found


class _Requirements(msgspec.Struct):
    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class _Container(msgspec.Struct, rename="camel"):
    resources: _Requirements | None = None
    restart_policy: str | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    overhead: dict[str, str | int | float] | None = None
    resources: _Requirements | None = None


def pod_requests(spec: Mapping[str, Any]) -> Resources:
    """What one pod asks for, after kube-scheduler's rule (`effective_requests`).

    Raises msgspec.ValidationError for another shape than a pod's, ValueError for requests that are no quantities.
    """
    pod = msgspec.convert(spec, _PodSpec)
    return effective_requests(
        [_requests(container.resources) for container in pod.containers or ()],
        [(_requests(each.resources), each.restart_policy == "Always") for each in pod.init_containers or ()],
        pod_level=_requests(pod.resources),
        overhead=_quantities(pod.overhead),
    )


def _requests(resources: _Requirements | None) -> Resources:
    """The requests of a container, or of a pod as a whole; where only a limit is given, that is the request."""
    if resources is None:
        return {}
    return {**_quantities(resources.limits), **_quantities(resources.requests)}


def _quantities(raw: Mapping[str, str | int | float] | None) -> Resources:
    parsed = {}
    for name, quantity in (raw or {}).items():
        try:
            parsed[name] = parse_quantity(quantity)
        except QuantityError as error:
            raise ValueError(f"request for {name}: {error}") from None
    return parsed

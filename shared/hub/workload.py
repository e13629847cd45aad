"""What an object asks for: its replicas, and the requests of one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.hub.kinds import BUILT_IN, Kind, Kinds, at_once, pod_sets
from shared.hub.pods import effective_requests
from shared.hub.references import Reference, is_made_by_cluster, pod_labels, references
from shared.hub.rendering import ceilings, scaled
from shared.hub.scope import brings
from shared.hub.terms import is_guarded
from shared.kube.objects import content_hash
from shared.kube.quantity import QuantityError, parse_quantity
from shared.kube.written import as_written
from shared.model.request import WorkloadObject
from shared.model.resources import Resources, add


class Selected(msgspec.Struct, frozen=True):
    """One object of a workload, as the pipeline needs to know it, and what goes along with it by reference."""

    summary: WorkloadObject
    references: tuple[Reference, ...] = ()
    pod_labels: tuple[dict[str, str], ...] = ()
    made_by_cluster: bool = False  # no label selects it
    run: str = ""  # of what may run to its end: its uid, by which one that is made anew is another run


def select(obj: Mapping[str, Any], default_namespace: str = "", kinds: Kinds = BUILT_IN) -> Selected:
    """An object of a workload. Raises ValueError for requests that are no quantities."""
    summary = summarize(obj, default_namespace, kinds)
    run = str((obj.get("metadata") or {}).get("uid") or "") if kinds.of(obj).ends else ""
    return Selected(
        summary=summary,
        references=tuple(references(obj, kinds)),
        pod_labels=tuple(pod_labels(obj, kinds)),
        made_by_cluster=is_made_by_cluster(obj),
        run=run,
    )


def summarize(
    obj: Mapping[str, Any],
    default_namespace: str = "",
    kinds: Kinds = BUILT_IN,
    *,
    written: Mapping[str, Any] | None = None,
) -> WorkloadObject:
    """One object of a workload, as the pipeline needs to know it; `written` is `as_written` of it, where that is known.

    Raises ValueError for requests that are no quantities, and for an object that its API server would not have taken.
    """
    kind, metadata = kinds.of(obj), obj.get("metadata") or {}
    try:
        placed = as_written(obj) if written is None else written
        return WorkloadObject(
            api_version=str(obj.get("apiVersion", "")),
            kind=str(obj.get("kind", "")),
            namespace=metadata.get("namespace") or default_namespace,
            name=metadata.get("name") or "",
            replicas=None if kind.counted is None else at_once(placed, kind),
            requests=_requests_of(placed, kind),
            labels=metadata.get("labels") or {},
            hash=content_hash(placed),
            guarded=is_guarded(obj),
            brings=_brought(obj),
            on_every_node=kind.on_every_node,
        )
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _brought(obj: Mapping[str, Any]) -> tuple[str, ...]:
    found = brings(obj)
    return () if found is None else tuple(f"{found.group}/{version} {found.kind}" for version in found.versions)


def summarize_all(objects: Sequence[dict[str, Any]], kinds: Kinds = BUILT_IN) -> tuple[WorkloadObject, ...]:
    """What is placed together, as it is rendered, in the order of its names: who is scaled up to a number counts as
    that many replicas.

    Raises ValueError as `summarize`, with the name of the object.
    """
    most, found = ceilings(objects), []
    for obj in objects:
        try:
            one = summarize(obj, kinds=kinds, written=obj)
        except ValueError as error:
            raise ValueError(f"{obj.get('kind')} {obj['metadata']['name']}: {error}") from None
        if one.replicas is not None:
            one = msgspec.structs.replace(one, replicas=max(one.replicas, most.get(scaled(obj), 0)))
        found.append(one)
    return tuple(sorted(found, key=lambda each: each.ref))


def _requests_of(obj: Mapping[str, Any], kind: Kind) -> Resources:
    """What one replica asks for; of a kind that has none, all its pods, and of a recurring one all those of a run."""
    of_a_run = at_once(obj, kind) if kind.recurring else 1
    return add(*(_times(pod_requests(_spec(template)), of_a_run * each) for template, each in pod_sets(obj, kind)))


def _spec(template: Mapping[str, Any]) -> Mapping[str, Any]:
    found = template.get("spec", {})
    return {} if found is None else found


def _times(requests: Resources, factor: int) -> Resources:
    return requests if factor == 1 else {name: amount * factor for name, amount in requests.items()}


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

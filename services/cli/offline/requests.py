"""Requests as the controller would make them, for Placements on a plane."""

import math
from typing import Any

import msgspec

from services.cli.offline.labelled import scope_labels
from services.cli.offline.objects import Manifest, labels_of, ref_of
from services.cli.offline.overriding import holding
from services.cli.offline.plane import Plane
from shared.api import PlacementSpec, WorkloadSelector, decode_placement, matches, validate_placement
from shared.hub.counting import Counted, demand
from shared.hub.declared import kinds_of
from shared.hub.references import is_made_by_cluster
from shared.hub.requester import requester_of
from shared.hub.selecting import nothing, of_kinds
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject


def request_from(plane: Plane, manifest: Manifest, now: float) -> Request:
    """The controller's request for a Placement; with an `error` for one that it would not take as it is."""
    ref, error = ref_of(manifest), ""
    spec, uid, requester = PlacementSpec(), "", None
    counted, digest = Counted(), ""
    try:
        placement = decode_placement(manifest)
        spec, uid, requester = placement.spec, placement.metadata.uid, requester_of(placement)
        error = "; ".join(validate_placement(placement))
        if not error:
            counted, digest = _counted(plane, spec, ref)
            error = counted.error
    except ValueError as wrong:
        error = str(wrong)
    return Request(
        placement=ref,
        head=Head(uid=uid or f"{ref.namespace}/{ref.name}", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=spec,
        labels=labels_of(manifest),
        requester=requester,
        scope_labels=scope_labels(ref, plane.workspaces, plane.namespaces),
        workload=counted.workload,
        variants=counted.variants,
        input_digest=digest,
        previous=plane.previous.get(ref, ()),
        leaving=_leaving(plane, ref, spec, now),
        moved_at=plane.moved_at.get(ref, 0.0),
        requested_at=now,
        operator_overrides=holding(plane.overrides, ref, uid, labels_of(manifest), now),
        error=error,
    )


def _leaving(plane: Plane, ref: PlacementRef, spec: PlacementSpec, now: float) -> tuple[str, ...]:
    """The targets that a placement runs on and does not tolerate any longer, as the controller says it. A taint counts
    from its `timeAdded`; one that has none, from now."""
    there = {each.target: found for each in plane.previous.get(ref, ()) if (found := plane.targets.get(each.target))}
    if not any(taint.effect == "NoExecute" for target in there.values() for taint in target.taints):
        return ()
    from services.controller.core.eviction import Patience, Sighting, evicted, expelling

    seen = {name: Sighting(target=each, expelling=expelling(each, {}, now)) for name, each in there.items()}
    return tuple(evicted(seen, spec.targets.tolerations, Patience(math.inf), now))


def _counted(plane: Plane, spec: PlacementSpec, ref: PlacementRef) -> tuple[Counted, str]:
    """What is selected, counted, and the digest of it.

    What is named but not in the files counts as one replica without requests. Raises ValueError for manifests that are
    no objects.
    """
    objects: list[dict[str, Any]] = []
    unknown: list[WorkloadObject] = []
    for index, selector in enumerate(spec.workload):
        selected = [each for one in of_kinds(selector) for each in _selected(plane, one, ref)]
        objects += [dict(each) for each in selected]
        if not selected and selector.all:
            raise ValueError(nothing(selector, f"spec.workload[{index}]", ref.namespace))
        if not selected:
            stub = WorkloadObject(
                api_version=selector.api_version,
                kind=selector.kind,
                namespace=ref.namespace,
                name=selector.name or "",
                replicas=1,
            )
            unknown.append(stub)
    objects += [dict(each) for each in spec.manifests]
    everywhere = (msgspec.structs.replace(each, workspace=each.workspace or ref.workspace) for each in plane.declared)
    kinds = kinds_of(ref.workspace, everywhere)
    wanted = demand(spec, ref, objects, plane.targets.values(), kinds)
    counted = wanted.counted
    also = tuple({each.ref: each for each in unknown}.values())
    workload = tuple(sorted((*counted.workload, *also), key=lambda each: each.ref))
    variants = tuple(msgspec.structs.replace(each, workload=(*each.workload, *also)) for each in counted.variants)
    return msgspec.structs.replace(counted, workload=workload, variants=variants), wanted.digest


def _selected(plane: Plane, selector: WorkloadSelector, ref: PlacementRef) -> list[Manifest]:
    """The objects of one kind that a selector of a placement means."""
    kind = (selector.api_version, selector.kind, ref.namespace)
    homes = [plane.objects.get((workspace, *kind), {}) for workspace in dict.fromkeys((ref.workspace, ""))]
    if selector.name:
        return [home[selector.name] for home in homes if selector.name in home][:1]
    found = (each for home in homes for each in home.values() if not is_made_by_cluster(each))
    return [each for each in found if matches(selector.label_selector, each["metadata"].get("labels") or {})]

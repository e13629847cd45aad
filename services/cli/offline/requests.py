"""Requests as the controller would make them, for Placements on a plane."""

from typing import Any

import msgspec

from services.cli.offline.objects import Manifest, labels_of, ref_of
from services.cli.offline.plane import Plane
from services.controller.core.digest import above
from services.controller.counting import Counted, count, occurring
from shared.api import PlacementSpec, decode_placement, matches, validate_placement
from shared.hub.rendering import input_digest, source_hash
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject


def request_from(plane: Plane, manifest: Manifest, now: float) -> Request:
    """The controller's request for a Placement; with an `error` for one that it would not take as it is."""
    ref, error = ref_of(manifest), ""
    spec, uid = PlacementSpec(), ""
    counted, digest = Counted(), ""
    try:
        placement = decode_placement(manifest)
        spec, uid = placement.spec, placement.metadata.uid
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
        workload=counted.workload,
        variants=counted.variants,
        input_digest=digest,
        previous=plane.previous.get(ref, ()),
        moved_at=plane.moved_at.get(ref, 0.0),
        requested_at=now,
        error=error,
    )


def _counted(plane: Plane, spec: PlacementSpec, ref: PlacementRef) -> tuple[Counted, str]:
    """What is selected, counted, and the digest of it.

    What is named but not in the files counts as one replica without requests. Raises ValueError for manifests that are
    no objects.
    """
    objects: list[dict[str, Any]] = []
    unknown: list[WorkloadObject] = []
    for selector in spec.workload:
        kind = (selector.api_version, selector.kind, ref.namespace)
        homes = [plane.objects.get((workspace, *kind), {}) for workspace in dict.fromkeys((ref.workspace, ""))]
        if selector.name:
            selected = [home[selector.name] for home in homes if selector.name in home][:1]
        else:
            found = (each for home in homes for each in home.values())
            selected = [
                each for each in found if matches(selector.label_selector, each["metadata"].get("labels") or {})
            ]
        objects += [dict(each) for each in selected]
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
    sets = occurring(spec.overrides, plane.targets.values(), above(ref.workspace))
    counted = count(spec, ref.namespace, objects, sets) if objects else Counted()
    also = tuple({each.ref: each for each in unknown}.values())
    workload = tuple(sorted((*counted.workload, *also), key=lambda each: each.ref))
    variants = tuple(msgspec.structs.replace(each, workload=(*each.workload, *also)) for each in counted.variants)
    digest = input_digest(spec, [source_hash(each) for each in objects]) if objects else ""
    return msgspec.structs.replace(counted, workload=workload, variants=variants), digest

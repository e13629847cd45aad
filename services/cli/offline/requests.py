"""What the controller would ask for a Placement on a plane."""

from services.cli.offline.objects import Manifest, ref_of
from services.cli.offline.plane import Plane
from services.controller.workload import summarize
from shared.api import PlacementSpec, decode_placement, matches, validate_placement
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject


def request_from(plane: Plane, manifest: Manifest, now: float) -> Request:
    """What the controller would ask for a Placement; with an `error` for one that it would not take as it is."""
    ref, error = ref_of(manifest), ""
    spec, uid = PlacementSpec(), ""
    workload: tuple[WorkloadObject, ...] = ()
    try:
        placement = decode_placement(manifest)
        spec, uid = placement.spec, placement.metadata.uid
        error = "; ".join(validate_placement(placement))
        if not error:
            workload = _workload(plane, spec, ref)
    except ValueError as wrong:
        error = str(wrong)
    return Request(
        placement=ref,
        head=Head(uid=uid or f"{ref.namespace}/{ref.name}", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=spec,
        labels=manifest["metadata"].get("labels") or {},
        workload=workload,
        previous=plane.previous.get(ref, ()),
        moved_at=plane.moved_at.get(ref, 0.0),
        requested_at=now,
        error=error,
    )


def _workload(plane: Plane, spec: PlacementSpec, ref: PlacementRef) -> tuple[WorkloadObject, ...]:
    """The selected objects, each once; one that is named but not in the files counts as one replica without requests.

    Raises ValueError for inline manifests that no API server would take.
    """
    found = []
    for selector in spec.workload:
        kind = (selector.api_version, selector.kind, ref.namespace)
        homes = [plane.objects.get((workspace, *kind), {}) for workspace in dict.fromkeys((ref.workspace, ""))]
        if selector.name:
            selected = [home[selector.name] for home in homes if selector.name in home][:1]
        else:
            objects = (each for home in homes for each in home.values())
            selected = [each for each in objects if matches(selector.label_selector, each.labels)]
        unknown = WorkloadObject(
            api_version=selector.api_version,
            kind=selector.kind,
            namespace=ref.namespace,
            name=selector.name or "",
            replicas=1,
        )
        found += selected or [unknown]
    found += [summarize(each, ref.namespace) for each in spec.manifests]
    unique = {each.ref: each for each in found}
    return tuple(unique[name] for name in sorted(unique))

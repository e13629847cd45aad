"""A plane on paper: targets, policies, decisions and workloads from manifests, and what is asked for on it.

What only a server could know is taken from the manifests: a SyncTarget without a Ready condition is ready, one without
`status.apis` serves everything.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from services.cli.support.manifests import InvalidManifest, is_ours, of_kind, where
from services.controller.core import moved_at
from services.controller.workload import summarize
from services.discovery.inventory import Viewpoint, target_of
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.api import (
    KINDS,
    InvalidObject,
    PlacementSpec,
    ServedAPI,
    decode_decision,
    decode_placement,
    decode_policy,
    decode_synctarget,
    get_condition,
    matches,
    validate_placement,
)
from shared.model.decision import Reservation
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, PreviousChoice, Request, WorkloadObject
from shared.model.resources import Resources
from shared.model.target import ApiKind, Target

Manifest = Mapping[str, Any]
Decoded = TypeVar("Decoded")

PATH_ANNOTATIONS = ("kcp.io/path", "kcp.io/cluster")


def workspace_of(manifest: Manifest) -> str:
    """The workspace that a manifest says it lives in, as kcp annotates it; empty where it says nothing."""
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return next((str(annotations[key]) for key in PATH_ANNOTATIONS if key in annotations), "")


def named(manifest: Manifest) -> str:
    """An object's kind and name, and where it was found, for messages."""
    return f"{where(manifest)}: {manifest['kind']} {_name(manifest)[1]}"


def decoded(decode: Callable[[Manifest], Decoded], manifest: Manifest) -> Decoded:
    """What a manifest stands for. Raises `InvalidManifest`."""
    try:
        return decode(manifest)
    except ValueError as error:
        raise InvalidManifest(f"{named(manifest)}: {error}") from None


def _unique(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """The manifests, as long as no two of them are one object. Raises `InvalidManifest`."""
    seen: dict[tuple[str, ...], Manifest] = {}
    for each in manifests:
        group = str(each.get("apiVersion", "")).rpartition("/")[0]
        first = seen.setdefault((group, each["kind"], workspace_of(each), *_name(each)), each)
        if first is not each:
            raise InvalidManifest(f"{named(each)} is there twice: it is also {where(first)}")
        yield each


def target_from(manifest: Manifest) -> Target:
    """A SyncTarget as the inventory would know it. Raises `InvalidManifest`."""
    found = decoded(decode_synctarget, manifest)
    status = found.status
    ready = get_condition(status.conditions, "Ready")
    target = target_of(workspace_of(manifest), found, None, None, Viewpoint())
    return msgspec.structs.replace(
        target,
        ready=ready is None or ready.status == "True",
        reason="",
        allocatable=target.allocatable or target.capacity,
        apis=tuple(_api(each) for each in status.apis),
        kubernetes_version=status.kubernetes_version,
    )


def _api(served: ServedAPI) -> ApiKind:
    return ApiKind(
        group=served.group,
        resource=served.resource,
        kind=served.kind,
        versions=served.versions,
        namespaced=served.namespaced,
    )


Group = tuple[str, str, str, str]
"""Workspace, apiVersion, kind and namespace of objects."""


@dataclass
class Plane:
    """What is decided upon. `settings` are the scheduler's; `objects` by workspace (none given: any) and identity."""

    targets: dict[str, Target]
    policies: tuple[PolicyEntry, ...] = ()
    objects: Mapping[Group, dict[str, WorkloadObject]] = field(default_factory=dict)
    previous: dict[PlacementRef, tuple[PreviousChoice, ...]] = field(default_factory=dict)
    moved_at: dict[PlacementRef, float] = field(default_factory=dict)
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    snapshot: Snapshot = field(default_factory=Snapshot)

    def __post_init__(self) -> None:
        for target in self.targets.values():
            self.snapshot.put(target)

    def hold(self, placement: PlacementRef, labels: Mapping[str, str], taken: Mapping[str, Resources]) -> None:
        """Note what a placement with these labels takes by target, in place of all that it took before."""
        head = Head(uid=str(placement), generation=1, attempt=1)
        for target in self.snapshot.taken.get(placement, {}).keys() - taken.keys():
            self.snapshot.release(target, placement)
        for target, resources in taken.items():
            reservation = Reservation(placement=placement, head=head, resources=resources, labels=dict(labels))
            self.snapshot.reserve(target, reservation)


def plane_of(
    targets: Iterable[Manifest],
    placements: Iterable[Manifest],
    policies: Iterable[Manifest],
    previous: Iterable[Manifest],
) -> Plane:
    """The plane that some manifests describe. Raises `InvalidManifest`."""
    placements = list(_unique(placements))
    objects: defaultdict[Group, dict[str, WorkloadObject]] = defaultdict(dict)
    for manifest in placements:
        if manifest["kind"] not in KINDS or not is_ours(manifest):
            found = decoded(lambda each: summarize(each, "default"), manifest)
            objects[workspace_of(manifest), found.api_version, found.kind, found.namespace][found.name] = found
    needed = {(api_version, kind) for _, api_version, kind, _ in objects} | set(_selected_kinds(placements))
    known = [target_from(each) for each in _unique(of_kind(targets, "SyncTarget"))]
    everything = tuple(_served(api_version, kind) for api_version, kind in sorted(needed))
    complete = [each if each.apis else msgspec.structs.replace(each, apis=everything) for each in known]
    plane = Plane({each.id: each for each in complete}, _policies(policies), objects)
    labels = {_ref(each): each["metadata"].get("labels") or {} for each in of_kind(placements, "Placement")}
    for manifest in _unique(of_kind(previous, "PlacementDecision")):
        status = decoded(decode_decision, manifest).status
        selected = status.selected
        placement = _ref(manifest)
        plane.moved_at[placement] = moved_at(status.history)
        ids = [TargetRef.of(each.target).id for each in selected]
        plane.previous[placement] = tuple(
            PreviousChoice(target=target, replicas=each.replicas) for target, each in zip(ids, selected, strict=True)
        )
        taken = {target: each.reserved for target, each in zip(ids, selected, strict=True)}
        plane.hold(placement, labels.get(placement, {}), taken)
    return plane


def _policies(manifests: Iterable[Manifest]) -> tuple[PolicyEntry, ...]:
    return tuple(
        PolicyEntry(workspace=workspace_of(each), name=_name(each)[1], spec=decoded(decode_policy, each).spec)
        for each in _unique(of_kind(manifests, "PlacementPolicy"))
    )


def _name(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest.get("metadata") or {}
    return str(metadata.get("namespace") or "default"), str(metadata.get("name") or "")


def _ref(manifest: Manifest) -> PlacementRef:
    namespace, name = _name(manifest)
    return PlacementRef(workspace=workspace_of(manifest), namespace=namespace, name=name)


def _selected_kinds(placements: Iterable[Manifest]) -> Iterator[tuple[str, str]]:
    """What Placements name, as far as they can be read: what is wrong with them is said of each."""
    for each in of_kind(placements, "Placement"):
        with contextlib.suppress(InvalidObject):
            spec = decode_placement(each).spec
            yield from ((selector.api_version, selector.kind) for selector in spec.workload)
            yield from ((str(one.get("apiVersion", "")), str(one.get("kind", ""))) for one in spec.manifests)


def _served(api_version: str, kind: str) -> ApiKind:
    group, _, version = api_version.rpartition("/")
    return ApiKind(group=group, resource=kind.lower(), kind=kind, versions=(version,))


def request_from(plane: Plane, manifest: Manifest, now: float) -> Request:
    """What the controller would ask for a Placement; with an `error` for one that it would not take as it is."""
    ref, error = _ref(manifest), ""
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

"""A plane on paper: targets, policies, decisions and workloads from manifests.

What only a server could know is taken from the manifests: a SyncTarget without a Ready condition is ready, one without
`status.apis` serves everything.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from services.cli.offline.objects import Manifest, decoded, labels_of, name_of, ref_of, unique, workspace_of
from services.cli.support.manifests import InvalidManifest, is_ours, of_kind
from services.controller.core.rebalance import moved_at
from services.controller.workload import summarize
from services.discovery.inventory import Viewpoint, target_of
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.api import (
    KINDS,
    InvalidObject,
    PlacementDecision,
    PlacementDecisionStatus,
    ServedAPI,
    decode_decision,
    decode_placement,
    decode_policy,
    decode_synctarget,
    get_condition,
)
from shared.hub.slices import joined
from shared.model.decision import Reservation
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import PreviousChoice
from shared.model.resources import Resources
from shared.model.target import ApiKind, Target


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
    """The plane. `settings` are the scheduler's; `objects` by workspace (none given: any) and identity.

    `trusted` are the providers that the operator trusts, as discovery's setting trusted_providers has them; None: all.
    """

    targets: dict[str, Target]
    policies: tuple[PolicyEntry, ...] = ()
    objects: Mapping[Group, dict[str, Manifest]] = field(default_factory=dict)
    previous: dict[PlacementRef, tuple[PreviousChoice, ...]] = field(default_factory=dict)
    moved_at: dict[PlacementRef, float] = field(default_factory=dict)
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    snapshot: Snapshot = field(default_factory=Snapshot)
    trusted: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for target in self.targets.values():
            self.snapshot.put(target)

    def hold(self, placement: PlacementRef, labels: Mapping[str, str], reserved: Mapping[str, Resources]) -> None:
        """Note what a placement with these labels takes by target, in place of all that it took before."""
        head = Head(uid=str(placement), generation=1, attempt=1)
        for target in self.snapshot.taken.reservations.get(placement, {}).keys() - reserved.keys():
            self.snapshot.release(target, placement)
        for target, resources in reserved.items():
            reservation = Reservation(placement=placement, head=head, resources=resources, labels=dict(labels))
            self.snapshot.reserve(target, reservation)


def plane_of(
    targets: Iterable[Manifest],
    placements: Iterable[Manifest],
    policies: Iterable[Manifest],
    previous: Iterable[Manifest],
) -> Plane:
    """The plane that some manifests describe. Raises `InvalidManifest`."""
    placements = list(unique(placements))
    objects: defaultdict[Group, dict[str, Manifest]] = defaultdict(dict)
    for manifest in placements:
        if manifest["kind"] not in KINDS or not is_ours(manifest):
            found = decoded(lambda each: summarize(each, "default"), manifest)
            placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": found.namespace}}
            objects[workspace_of(manifest), found.api_version, found.kind, found.namespace][found.name] = placed
    needed = {(api_version, kind) for _, api_version, kind, _ in objects} | set(_selected_kinds(placements))
    known = [target_from(each) for each in unique(of_kind(targets, "SyncTarget"))]
    everything = tuple(_served(api_version, kind) for api_version, kind in sorted(needed))
    complete = [each if each.apis else msgspec.structs.replace(each, apis=everything) for each in known]
    plane = Plane({each.id: each for each in complete}, _policies(policies), objects)
    labels = {ref_of(each): labels_of(each) for each in of_kind(placements, "Placement")}
    for placement, status in _decided(previous):
        plane.moved_at[placement] = moved_at(status.history)
        ids = [TargetRef.of(each.target).id for each in status.selected]
        plane.previous[placement] = tuple(
            PreviousChoice(target=target, replicas=each.replicas)
            for target, each in zip(ids, status.selected, strict=True)
        )
        reserved = {target: each.reserved for target, each in zip(ids, status.selected, strict=True)}
        plane.hold(placement, labels.get(placement, {}), reserved)
    return plane


def _decided(manifests: Iterable[Manifest]) -> Iterator[tuple[PlacementRef, PlacementDecisionStatus]]:
    decisions: defaultdict[str, list[PlacementDecision]] = defaultdict(list)
    for each in unique(of_kind(manifests, "PlacementDecision")):
        decisions[workspace_of(each)].append(decoded(decode_decision, each))
    for workspace, found in decisions.items():
        for one in joined(found):
            metadata = one.decision.metadata
            if not one.whole:
                raise InvalidManifest(f"of PlacementDecision {metadata.name} there are not all slices")
            ref = PlacementRef(workspace=workspace, namespace=metadata.namespace or "default", name=metadata.name)
            yield ref, one.decision.status


def _policies(manifests: Iterable[Manifest]) -> tuple[PolicyEntry, ...]:
    return tuple(
        PolicyEntry(workspace=workspace_of(each), name=name_of(each)[1], spec=decoded(decode_policy, each).spec)
        for each in unique(of_kind(manifests, "PlacementPolicy"))
    )


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

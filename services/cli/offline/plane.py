"""A plane on paper: targets, policies, decisions and workloads from manifests.

What only a server could know is taken from the manifests: a SyncTarget without a Ready condition is ready, one without
`status.apis` serves everything.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from services.cli.offline.labelled import Namespaces, namespaces_in, workspaces_in
from services.cli.offline.objects import Manifest, decoded, labels_of, name_of, ref_of, unique, workspace_of
from services.cli.offline.overriding import FoundOverride, overrides_in
from services.cli.support.manifests import InvalidManifest, is_ours, of_kind
from services.discovery.inventory import Viewpoint, target_of
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.api import (
    KINDS,
    InvalidObject,
    ParamRef,
    PlacementDecision,
    PlacementDecisionStatus,
    ServedAPI,
    decode_decision,
    decode_placement,
    decode_policy,
    decode_policyexception,
    decode_synctarget,
    decode_workloadkind,
    get_condition,
)
from shared.hub.history import moved_at
from shared.hub.parameters import parameters_of
from shared.hub.selecting import of_kinds
from shared.hub.slices import joined
from shared.hub.workload import summarize
from shared.kube.times import seconds
from shared.model.decision import Reservation
from shared.model.declared import DeclaredKind
from shared.model.policy import Exemption, Parameters, PolicyEntry
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import PreviousChoice
from shared.model.resources import Resources
from shared.model.target import ApiKind, Target, Workspace


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
    """The plane. `settings` are the scheduler's, `decided` are decisions on record; `objects` by workspace (none given:
    any) and identity; `overrides` are operators'; `workspaces` and `namespaces` are those whose labels are known.

    `trusted` are the providers that the operator trusts, as discovery's setting trusted_providers has them; None: all.
    """

    targets: dict[str, Target]
    policies: tuple[PolicyEntry, ...] = ()
    objects: Mapping[Group, dict[str, Manifest]] = field(default_factory=dict)
    decided: dict[PlacementRef, PlacementDecisionStatus] = field(default_factory=dict)
    previous: dict[PlacementRef, tuple[PreviousChoice, ...]] = field(default_factory=dict)
    moved_at: dict[PlacementRef, float] = field(default_factory=dict)
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    snapshot: Snapshot = field(default_factory=Snapshot)
    trusted: tuple[str, ...] | None = None
    declared: tuple[DeclaredKind, ...] = ()
    workspaces: Mapping[str, Workspace] = field(default_factory=dict)
    namespaces: Namespaces = field(default_factory=dict)
    overrides: tuple[FoundOverride, ...] = ()

    def __post_init__(self) -> None:
        for target in self.targets.values():
            self.snapshot.put(target)

    def on(self, targets: Iterable[Target], policies: tuple[PolicyEntry, ...]) -> "Plane":
        """The same placements with other targets and policies; nothing is taken there."""
        known = {each.id: each for each in targets}
        return replace(self, targets=known, policies=policies, snapshot=Snapshot())

    def put(self, target: Target) -> None:
        """Add a target, or have it in place of the one of its id."""
        self.targets[target.id] = target
        self.snapshot.put(target)

    def remove(self, target: str) -> None:
        """Take a target away, by id."""
        del self.targets[target]
        self.snapshot.remove(target)

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
    placements, policies = list(unique(placements)), list(policies)
    labelled = [*placements, *policies]
    objects = objects_of(placements)
    needed = {(api_version, kind) for _, api_version, kind, _ in objects} | set(selected_kinds(placements))
    known = [target_from(each) for each in unique(of_kind(targets, "SyncTarget"))]
    everything = serving_all(needed)
    complete = [each if each.apis else msgspec.structs.replace(each, apis=everything) for each in known]
    plane = Plane(
        {each.id: each for each in complete},
        policies_of(policies),
        objects,
        declared=declared_in(placements),
        workspaces=workspaces_in(labelled),
        namespaces=namespaces_in(labelled),
        overrides=overrides_in(placements),
    )
    labels = {ref_of(each): labels_of(each) for each in of_kind(placements, "Placement")}
    for placement, status in _decided(previous):
        plane.decided[placement] = status
        plane.moved_at[placement] = moved_at(status.history)
        ids = [TargetRef.of(each.target).id for each in status.selected]
        plane.previous[placement] = tuple(
            PreviousChoice(target=target, replicas=each.replicas)
            for target, each in zip(ids, status.selected, strict=True)
        )
        reserved = {target: each.reserved for target, each in zip(ids, status.selected, strict=True)}
        plane.hold(placement, labels.get(placement, {}), reserved)
    return plane


def objects_of(manifests: Iterable[Manifest]) -> dict[Group, dict[str, Manifest]]:
    """What can be placed, among manifests. Raises `InvalidManifest`."""
    objects: defaultdict[Group, dict[str, Manifest]] = defaultdict(dict)
    for manifest in manifests:
        if manifest["kind"] not in KINDS or not is_ours(manifest):
            found = decoded(lambda each: summarize(each, "default", written=each), manifest)
            placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": found.namespace}}
            objects[workspace_of(manifest), found.api_version, found.kind, found.namespace][found.name] = placed
    return objects


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


def policies_of(manifests: Iterable[Manifest]) -> tuple[PolicyEntry, ...]:
    """The PlacementPolicies among manifests, each with the PolicyExceptions from it that live in its workspace.

    Raises `InvalidManifest`.
    """
    manifests = list(manifests)
    granted = _granted(manifests)
    entries = tuple(
        PolicyEntry(
            workspace=workspace_of(each),
            name=name_of(each)[1],
            spec=decoded(decode_policy, each).spec,
            exemptions=tuple(granted.pop((workspace_of(each), name_of(each)[1]), ())),
            params=_parameters(decoded(decode_policy, each).spec.param_ref, workspace_of(each), manifests),
        )
        for each in unique(of_kind(manifests, "PlacementPolicy"))
    )
    for (_, policy), exemptions in granted.items():
        raise InvalidManifest(
            f"PolicyException {exemptions[0].name}: there is no PlacementPolicy {policy} in its workspace"
        )
    return entries


def _parameters(ref: ParamRef | None, workspace: str, manifests: Iterable[Manifest]) -> Parameters | None:
    """What the object says that a policy of a workspace names, which may be among the manifests."""
    if ref is None:
        return None
    for each in manifests:
        namespace, name = name_of(each)
        here = (str(each.get("apiVersion", "")), each["kind"], name) == (ref.api_version, ref.kind, ref.name)
        if here and workspace_of(each) == workspace and ref.namespace in ("", namespace):
            return parameters_of(each, ref)
    return Parameters()


def _granted(manifests: Iterable[Manifest]) -> dict[tuple[str, str], list[Exemption]]:
    """What PolicyExceptions grant, by workspace and policy."""
    granted: defaultdict[tuple[str, str], list[Exemption]] = defaultdict(list)
    for each in unique(of_kind(manifests, "PolicyException")):
        spec = decoded(decode_policyexception, each).spec
        granted[workspace_of(each), spec.policy].append(
            Exemption(name=name_of(each)[1], expires=seconds(spec.expires_at), spec=spec)
        )
    return granted


def declared_in(manifests: Iterable[Manifest]) -> tuple[DeclaredKind, ...]:
    return tuple(
        DeclaredKind(workspace=workspace_of(each), name=name_of(each)[1], spec=decoded(decode_workloadkind, each).spec)
        for each in of_kind(manifests, "WorkloadKind")
    )


def selected_kinds(placements: Iterable[Manifest]) -> Iterator[tuple[str, str]]:
    """What Placements name, as far as they can be read: what is wrong with them is said of each."""
    for each in of_kind(placements, "Placement"):
        with contextlib.suppress(InvalidObject):
            spec = decode_placement(each).spec
            yield from ((one.api_version, one.kind) for selector in spec.workload for one in of_kinds(selector))
            yield from ((str(one.get("apiVersion", "")), str(one.get("kind", ""))) for one in spec.manifests)


def serving_all(needed: Iterable[tuple[str, str]]) -> tuple[ApiKind, ...]:
    """What a target serves that does not say so: all that is needed, by apiVersion and kind."""
    return tuple(_served(api_version, kind) for api_version, kind in sorted(needed))


def _served(api_version: str, kind: str) -> ApiKind:
    group, _, version = api_version.rpartition("/")
    return ApiKind(group=group, resource=kind.lower(), kind=kind, versions=(version,))

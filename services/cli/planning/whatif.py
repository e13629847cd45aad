"""What is to change on a plane on paper: targets lost, gone, cordoned or drained, and objects that are applied."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from services.cli.offline.changes import with_policies
from services.cli.offline.labelled import namespaces_in, workspaces_in
from services.cli.offline.objects import Manifest, decoded, named, ref_of, unique, workspace_of
from services.cli.offline.overriding import overrides_in, with_overrides
from services.cli.offline.plane import (
    Plane,
    declared_in,
    objects_of,
    policies_of,
    selected_kinds,
    serving_all,
    target_from,
)
from services.cli.support.draining import drained
from services.cli.support.errors import UsageError
from services.cli.support.manifests import InvalidManifest, is_ours, of_kind
from services.discovery.inventory import Viewpoint, target_of
from shared.api import KINDS, REGION_LABEL, decode_synctarget
from shared.hub.names import REBALANCE_ANNOTATION
from shared.kube.times import rfc3339
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef, PolicyRef, TargetRef
from shared.model.target import Target

SHORT = {"region": REGION_LABEL, "zone": "topology.kubernetes.io/zone"}
"""Labels that may be named in short."""

PLANNED = ("Placement", "PlacementOverride", "PlacementPolicy", "PolicyException", "SyncTarget", "WorkloadKind")
"""Our kinds of which can be told what they would change; of all others, they are what is placed."""

KEPT = ("capacity", "allocatable", "allocated", "usage", "latency", "scores", "nodes", "apis", "kubernetes_version")
"""What was seen of a target, and stays where the object that is applied does not say it."""


def _nobody(ref: PlacementRef) -> bool:  # noqa: ARG001 - whichever placement
    return False


@dataclass(frozen=True)
class WhatIf:
    """What is to change. Targets are named by NAME, WORKSPACE/NAME or LABEL=VALUE (all that have it)."""

    gone: Sequence[str] = ()  # their SyncTargets deleted
    lost: Sequence[str] = ()  # unreachable
    cordoned: Sequence[str] = ()
    drained: Sequence[str] = ()
    applied: Sequence[Manifest] = field(default_factory=list)
    looking: Callable[[PlacementRef], bool] = _nobody  # which placements were asked to look for better targets

    def change(self, plane: Plane, now: float) -> None:
        """Change the targets, policies and objects of a plane. Raises UsageError for a target that is not there, and
        `InvalidManifest`."""
        self._apply(plane)
        for target in _named(plane, self.cordoned):
            plane.put(msgspec.structs.replace(target, unschedulable=True))
        for target in _named(plane, self.drained):
            taints = drained(target.taints, rfc3339(now, "seconds"))
            plane.put(msgspec.structs.replace(target, unschedulable=True, taints=taints))
        for target in _named(plane, self.lost):
            plane.put(msgspec.structs.replace(target, ready=False, reason="lost", lost_since=target.lost_since or now))
        for target in _named(plane, self.gone):
            plane.remove(target.id)

    def placements(self, known: Iterable[Manifest]) -> dict[PlacementRef, Manifest]:
        """The Placements that there are then: those that are applied in place of what was known of them, or new."""
        applied = of_kind(self.applied, "Placement")
        then = {ref_of(each): each for each in (*known, *applied)}
        return {ref: _asked(each) if self.looking(ref) else each for ref, each in then.items()}

    def _apply(self, plane: Plane) -> None:
        applied = list(unique(self.applied))
        for each in applied:
            if is_ours(each) and each["kind"] in KINDS and each["kind"] not in PLANNED:
                raise InvalidManifest(f"{named(each)}: nothing can be told of what that would change")
        objects = objects_of(applied)
        plane.objects = {
            group: {**plane.objects.get(group, {}), **objects.get(group, {})}
            for group in plane.objects.keys() | objects.keys()
        }
        plane.policies = with_policies(plane.policies, _renewed(plane.policies, policies_of(applied)))
        plane.overrides = with_overrides(plane.overrides, overrides_in(applied))
        plane.namespaces = {**plane.namespaces, **namespaces_in(applied)}
        plane.workspaces = {**plane.workspaces, **workspaces_in(applied)}
        plane.declared = (*plane.declared, *declared_in(applied))
        needed = {(api_version, kind) for _, api_version, kind, _ in plane.objects} | set(selected_kinds(applied))
        for manifest in of_kind(applied, "SyncTarget"):
            target = TargetRef(workspace=workspace_of(manifest), name=manifest["metadata"]["name"])
            changed = changed_target(manifest, plane.targets.get(target.id))
            plane.put(changed if changed.apis else msgspec.structs.replace(changed, apis=serving_all(needed)))


def changed_target(manifest: Manifest, known: Target | None) -> Target:
    """The inventory entry once a SyncTarget is applied: with its labels and its spec, and what its status says; all
    else stays as it is known. Raises `InvalidManifest`."""
    new = target_from(manifest)
    if known is None:
        return new
    found = decoded(decode_synctarget, manifest)
    metadata = msgspec.structs.replace(found.metadata, uid=known.uid)
    target = target_of(known.workspace, msgspec.structs.replace(found, metadata=metadata), None, known, Viewpoint())
    kept = {name: getattr(new, name) or getattr(known, name) for name in KEPT}
    said = any(each.type == "Ready" for each in found.status.conditions)
    return msgspec.structs.replace(
        target,
        **kept,
        created=known.created,
        ready=new.ready if said else known.ready,
        reason=new.reason if said else known.reason,
    )


def _asked(placement: Manifest) -> Manifest:
    """A Placement once `moorage rebalance` was called for it."""
    metadata = placement["metadata"]
    annotations = {**(metadata.get("annotations") or {}), REBALANCE_ANNOTATION: "on paper"}
    return {**placement, "metadata": {**metadata, "annotations": annotations}}


def _renewed(known: Iterable[PolicyEntry], new: Iterable[PolicyEntry]) -> list[PolicyEntry]:
    """Policies as they would be once applied: one that says what it said before is the same."""
    before = {PolicyRef.of(each): each for each in known}
    return [_upon(before.get(PolicyRef.of(each)), each) for each in new]


def _upon(old: PolicyEntry | None, new: PolicyEntry) -> PolicyEntry:
    if old is None:
        return new
    generation = old.generation + (old.spec != new.spec)
    return msgspec.structs.replace(new, uid=old.uid, generation=generation)


def _named(plane: Plane, names: Iterable[str]) -> list[Target]:
    """The targets that are meant. Raises UsageError where there is none of a name, or it could be several."""
    return [target for name in names for target in _meant(plane, name)]


def _meant(plane: Plane, name: str) -> list[Target]:
    key, is_label, value = name.partition("=")
    if is_label:
        label = SHORT.get(key, key)
        found = [each for each in plane.targets.values() if each.labels.get(label) == value]
    else:
        found = [each for each in plane.targets.values() if name in (each.id, each.id.removeprefix("/"), each.name)]
        if len(found) > 1:
            raise UsageError(f"there are {len(found)} targets {name}: name one as WORKSPACE/NAME")
    if not found:
        raise UsageError(f"there is no target {name}")
    return found

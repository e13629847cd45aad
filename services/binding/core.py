"""What exactly is applied in one target: values in, values out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
import msgspec

from shared.api import ManifestReference, ObjectReference, PlacementSpec, TargetOverride, matches
from shared.hub.kinds import Path, kind_of, value_at, with_value
from shared.hub.names import MANAGED_LABEL, OWNER_ANNOTATION, owner_of
from shared.kube.applyset import applyset_member
from shared.kube.objects import content_hash, strip_server_fields
from shared.kube.resources import group_of
from shared.model.refs import PlacementRef

Object = dict[str, Any]


_ORDER = ("ServiceAccount", "ConfigMap", "Secret", "PersistentVolumeClaim", "Service")


class Unfit(ValueError):
    """The objects cannot be made what the Placement asks for; the message says which and why."""


class Member(msgspec.Struct, frozen=True):
    """One object as it is to be in the target, and the hash of its content."""

    object: Object
    hash: str

    @property
    def ref(self) -> ManifestReference:
        metadata = self.object["metadata"]
        return ManifestReference(
            api_version=self.object["apiVersion"],
            kind=self.object["kind"],
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            hash=self.hash,
        )


class Wanted(msgspec.Struct, frozen=True):
    """All that is to be in the target, in the order in which it is applied."""

    members: tuple[Member, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def refs(self) -> tuple[ManifestReference, ...]:
        return tuple(member.ref for member in self.members)


class Collected(msgspec.Struct, frozen=True):
    """What was read from the workspace: the workload, what it refers to, and what could not be found."""

    workload: tuple[Object, ...]
    referred: tuple[Object, ...] = ()
    notes: tuple[str, ...] = ()


Identity = tuple[str, str, str, str]


def identity(ref: ObjectReference) -> Identity:
    """Group, kind, namespace and name: what makes two references mean the same object, whatever their version."""
    return (group_of(ref.api_version), ref.kind, ref.namespace, ref.name)


def wanted(
    ref: PlacementRef,
    spec: PlacementSpec,
    collected: Collected,
    *,
    target_labels: Mapping[str, str],
    replicas: int | None,
    applyset: str,
) -> Wanted:
    """What is to be in one target, ready to be applied.

    Raises:
        Unfit: an override fits no object or changes which object it is, or there is nothing to apply.
    """
    workload = [_local(strip_server_fields(obj), ref.namespace) for obj in collected.workload]
    if not workload:
        raise Unfit("the Placement selects no object")
    if replicas is not None and spec.replicas.division != "Duplicated":
        workload = scale(workload, replicas)
    workload, applied = override(workload, spec.overrides, target_labels)
    referred = [_local(strip_server_fields(obj), ref.namespace) for obj in collected.referred]
    members: dict[Identity, Member] = {}
    for obj in (*workload, *referred):
        marked = applyset_member(_marked(obj, ref), applyset)
        member = Member(marked, content_hash(marked))
        members.setdefault(identity(member.ref), member)
    ordered = sorted(members.values(), key=lambda member: (rank(member.ref), identity(member.ref)))
    return Wanted(tuple(ordered), applied, collected.notes)


def rank(ref: ManifestReference) -> int:
    """What is applied first has the lowest rank; whatever is not named comes with the workloads, last."""
    return _ORDER.index(ref.kind) if ref.kind in _ORDER else len(_ORDER)


def scale(workload: Sequence[Object], replicas: int) -> list[Object]:
    """The objects with this target's share of replicas.

    `replicas` is the share of the object with most of them; others get the same proportion, rounded up, as the
    scheduler counts it.
    """
    paths = [_divided(obj) for obj in workload]
    counts = [_replicas(obj, path) if path else 0 for obj, path in zip(workload, paths, strict=True)]
    most = max(counts, default=0)
    return [
        with_value(obj, path, math.ceil(replicas * count / most)) if path and most else obj
        for obj, path, count in zip(workload, paths, counts, strict=True)
    ]


def override(
    workload: Sequence[Object], overrides: Sequence[TargetOverride], target_labels: Mapping[str, str]
) -> tuple[list[Object], tuple[str, ...]]:
    """The objects with the overrides for a target of these labels, and the names of those overrides.

    Each override's JSON Patch changes each object as a whole or not at all: where an operation finds no place (or a
    `test` fails), that object is left as it is. One that changes no object at all is refused, it is a mistake.
    """
    patched = list(workload)
    applied = []
    for number, each in enumerate(overrides):
        if not matches(each.target_selector, target_labels):
            continue
        patch = jsonpatch.JsonPatch(msgspec.to_builtins(each.patches))
        results = [_patched(obj, patch) for obj in patched]
        if not any(result is not None for result in results):
            raise Unfit(f"overrides[{number}] fits none of the {len(patched)} objects")
        patched = [obj if result is None else result for obj, result in zip(patched, results, strict=True)]
        applied.append(f"overrides[{number}]")
    return patched, tuple(applied)


def reference(obj: Mapping[str, Any]) -> ManifestReference:
    """A reference to an object, without a hash."""
    metadata = obj["metadata"]
    return ManifestReference(
        api_version=obj["apiVersion"],
        kind=obj["kind"],
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
    )


def _patched(obj: Object, patch: jsonpatch.JsonPatch) -> Object | None:
    try:
        result: Any = patch.apply(obj)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        return None
    if not isinstance(result, dict) or _names(result) != _names(obj):
        kind, name = obj.get("kind"), obj["metadata"].get("name")
        raise Unfit(f"an override would make another object of {kind} {name}: kind and name cannot be changed")
    return result


def _names(obj: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return ()
    return (obj.get("apiVersion"), obj.get("kind"), metadata.get("namespace"), metadata.get("name"))


def _local(obj: Object, namespace: str) -> Object:
    """An object as it may be placed: it names itself, and lies in the Placement's own namespace."""
    metadata = obj.get("metadata")
    if not (isinstance(metadata, dict) and metadata.get("name") and obj.get("apiVersion") and obj.get("kind")):
        raise Unfit("a manifest lacks apiVersion, kind or metadata.name")
    found = metadata.get("namespace") or namespace
    if found != namespace:
        raise Unfit(f"{obj['kind']} {metadata['name']} is in namespace {found}, the Placement in {namespace}")
    return {**obj, "metadata": {**metadata, "namespace": found}}


def _marked(obj: Object, ref: PlacementRef) -> Object:
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_LABEL: "true"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), OWNER_ANNOTATION: owner_of(ref)}
    return {**obj, "metadata": metadata}


def _divided(obj: Mapping[str, Any]) -> Path | None:
    """Where an object's replicas are; None for a kind without any, and for an object of another shape."""
    path = kind_of(obj).replicas
    return path if path is not None and isinstance(value_at(obj, path[:-1]), dict) else None


def _replicas(obj: Mapping[str, Any], path: Path) -> int:
    """An absent number means one, as the API server would default it."""
    found = value_at(obj, path)
    return found if isinstance(found, int) else 1

"""What exactly is applied in one target: values in, values out."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.api import ManifestReference, ObjectReference, PlacementSpec
from shared.hub.names import MANAGED_LABEL, OWNER_ANNOTATION, RESERVED_PREFIXES, owner_of
from shared.hub.rendering import localized, render
from shared.kube.applyset import applyset_member
from shared.kube.objects import content_hash, strip_server_fields
from shared.kube.resources import group_of
from shared.model.refs import PlacementRef

Object = dict[str, Any]


_ORDER = ("ServiceAccount", "ConfigMap", "Secret", "PersistentVolumeClaim", "Service")


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
    overrides: Sequence[int],
    replicas: int | None,
    applyset: str,
) -> Wanted:
    """What is to be in one target where these overrides hold (by their places in the spec), ready to be applied.

    Raises Unfit as `render`.
    """
    rendered = render(spec, ref.namespace, collected.workload, overrides, replicas)
    referred = [localized(strip_server_fields(obj), ref.namespace) for obj in collected.referred]
    members: dict[Identity, Member] = {}
    for obj in (*rendered.objects, *referred):
        marked = applyset_member(_marked(obj, ref), applyset)
        member = Member(marked, content_hash(marked))
        members.setdefault(identity(member.ref), member)
    ordered = sorted(members.values(), key=lambda member: (rank(member.ref), identity(member.ref)))
    return Wanted(tuple(ordered), rendered.overrides, collected.notes)


def rank(ref: ManifestReference) -> int:
    """What is applied first has the lowest rank; whatever is not named comes with the workloads, last."""
    return _ORDER.index(ref.kind) if ref.kind in _ORDER else len(_ORDER)


def reference(obj: Mapping[str, Any]) -> ManifestReference:
    """A reference to an object, without a hash."""
    metadata = obj["metadata"]
    return ManifestReference(
        api_version=obj["apiVersion"],
        kind=obj["kind"],
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
    )


def without_marks(obj: Object) -> Object:
    """An object without the labels and annotations that mean something to us, whoever wrote them."""
    metadata = dict(obj["metadata"])
    for field in ("labels", "annotations"):
        if isinstance(metadata.get(field), dict):
            metadata[field] = {
                name: value for name, value in metadata[field].items() if not name.startswith(RESERVED_PREFIXES)
            }
    return {**obj, "metadata": metadata}


def _marked(obj: Object, ref: PlacementRef) -> Object:
    obj = without_marks(obj)
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_LABEL: "true"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), OWNER_ANNOTATION: owner_of(ref)}
    return {**obj, "metadata": metadata}

"""The parent of a Placement's ApplySet: a ConfigMap in the target's `moorage-system` that names its members' kinds."""

from collections.abc import Collection, Iterable

from services.binding.core import Object
from shared.hub.names import (
    KINDS_ANNOTATION,
    OWNER_ANNOTATION,
    SYSTEM_NAMESPACE,
    UID_ANNOTATION,
    applyset_name,
    owner_of,
)
from shared.kube.applyset import APPLYSET_NAMESPACES, applyset_parent
from shared.kube.resources import CONFIGMAPS
from shared.model.refs import PlacementRef

GroupKind = tuple[str, str]
"""apiVersion and kind."""


def parent_of(ref: PlacementRef, uid: str, kinds: Iterable[GroupKind], namespaces: Collection[str]) -> Object:
    """The parent of a Placement's set, as it is applied, with the kinds and namespaces that there may be members of."""
    ordered = sorted(kinds)
    bare = {
        "apiVersion": CONFIGMAPS.api_version,
        "kind": CONFIGMAPS.kind,
        "metadata": {
            "name": applyset_name(ref),
            "namespace": SYSTEM_NAMESPACE,
            "annotations": {
                OWNER_ANNOTATION: owner_of(ref),
                KINDS_ANNOTATION: ",".join(" ".join(kind) for kind in ordered),
                UID_ANNOTATION: uid,
            },
        },
    }
    members = [
        {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}}
        for api_version, kind in ordered
        for namespace in namespaces
    ]
    return applyset_parent(bare, members)


def uid_of(parent: Object | None) -> str:
    """The uid of the Placement that it was last written for; empty where it does not say."""
    annotations = (parent or {}).get("metadata", {}).get("annotations") or {}
    return str(annotations.get(UID_ANNOTATION, ""))


def kinds_of(parent: Object | None) -> set[GroupKind]:
    """The kinds that the parent says there may be members of."""
    annotations = (parent or {}).get("metadata", {}).get("annotations") or {}
    pairs = (entry.partition(" ") for entry in str(annotations.get(KINDS_ANNOTATION, "")).split(",") if entry)
    return {(api_version, kind) for api_version, _, kind in pairs}


def namespaces_of(parent: Object | None) -> set[str]:
    """The namespaces that the parent says there may be members in."""
    annotations = (parent or {}).get("metadata", {}).get("annotations") or {}
    return {each for each in str(annotations.get(APPLYSET_NAMESPACES, "")).split(",") if each}


def belongs(parent: Object, ref: PlacementRef) -> bool:
    """Whether the parent is that of a Placement; names are cut and hashed, and might be made to meet."""
    annotations = parent.get("metadata", {}).get("annotations") or {}
    return str(annotations.get(OWNER_ANNOTATION, "")) in ("", owner_of(ref))

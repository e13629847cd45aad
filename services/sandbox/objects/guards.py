"""Guards of Moorage's own kinds, as the admission policies of a real hub have them (services/cli/hub/admission.yaml).

Pure: objects and users in, what is recorded or why it is refused out. Tests put the same cases to both.
"""

import msgspec

from services.sandbox.access.users import ADMINS, CLUSTER_NAME, KCP_ADMINS, SCOPES, User
from services.sandbox.errors import Document
from shared.api import GROUP
from shared.hub.names import PLACED_FINALIZER, REQUESTER_ANNOTATION

COLLECTORS = (
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:storage-version-migrator-controller",
)
WRITERS = {
    f"placementdecisions.{GROUP}": "decision",
    f"placementdecisions.{GROUP}/status": "decision",  # which a hub has until its CRDs are upgraded from 0.1
    f"placementbindings.{GROUP}": "binding",
    f"placementbindings.{GROUP}/status": "binding",
    f"placements.{GROUP}/status": "status",
    f"placementpolicies.{GROUP}/status": "status",
    f"placementoverrides.{GROUP}/status": "controller",
}
"""Which worker writes what, by resource and subresource."""

WRITTEN_BY_HAND = (
    f"the annotation {REQUESTER_ANNOTATION} records who last changed the Placement's spec and cannot be written"
)
WRITTEN_BY_OTHERS = "what Moorage decides and reports is written by Moorage alone"


def author(user: User) -> str:
    """A user as the requester's annotation has them."""
    who = {
        "username": user.name,
        "uid": user.uid,
        "groups": user.groups,
        "extra": {key: list(values) for key, values in sorted(user.extra)},
    }
    return msgspec.json.encode(who).decode()


def requester(new: Document, old: Document | None, user: User) -> str:
    """The annotation that a Placement is stored with: its author where it is made or its spec changes, else what it
    had; empty where it has none."""
    if old is None or new.get("spec") != old.get("spec"):
        return author(user)
    recorded = (old["metadata"].get("annotations") or {}).get(REQUESTER_ANNOTATION, "")
    return recorded if isinstance(recorded, str) else ""


def stamped(new: Document, old: Document | None, user: User) -> str:
    """Record the requester on a Placement; the reason why it is refused, or nothing."""
    recorded = requester(new, old, user)
    annotations = new["metadata"].get("annotations") or {}
    if recorded:
        new["metadata"]["annotations"] = {**annotations, REQUESTER_ANNOTATION: recorded}
    elif annotations.get(REQUESTER_ANNOTATION):
        return WRITTEN_BY_HAND
    return ""


def held(new: Document, old: Document | None) -> None:
    """Have a new Placement stay, when it is deleted, until the controller says that nothing of it is placed."""
    finalizers = new["metadata"].get("finalizers") or []
    if old is not None:
        was_held = PLACED_FINALIZER in (old["metadata"].get("finalizers") or [])
        if not was_held or new["metadata"].get("deletionTimestamp"):
            return
    if PLACED_FINALIZER not in finalizers:
        new["metadata"]["finalizers"] = [*finalizers, PLACED_FINALIZER]


def refusal(resource: str, subresource: str, user: User, new: Document, old: Document | None) -> str:
    """Why this user may not create or change such an object; empty where they may, or anybody may.

    Of what the cluster itself collects or migrates, only the metadata changes.
    """
    worker = WRITERS.get(f"{resource}/{subresource}" if subresource else resource)
    if worker is None:
        return ""
    if not {key for key, _ in user.extra} & {SCOPES, CLUSTER_NAME}:  # else it is somebody in one workspace only
        if {ADMINS, KCP_ADMINS, f"moorage:{worker}"} & set(user.groups):
            return ""
        if user.name == f"system:serviceaccount:moorage-system:{worker}":
            return ""
        same = old is not None and all(new.get(part) == old.get(part) for part in ("spec", "status"))
        if not subresource and user.name in COLLECTORS and same:
            return ""
    return WRITTEN_BY_OTHERS

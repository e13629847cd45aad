"""Guards of Moorage's own kinds, as the admission policies of a real hub have them (services/cli/hub/admission.yaml).

Pure: objects and users in, what is recorded or why it is refused out. Tests put the same cases to both.
"""

from collections.abc import Iterable

import msgspec

from services.sandbox.access.users import ADMINS, CLUSTER_NAME, INTAKE, KCP_ADMINS, SCOPES, User
from services.sandbox.errors import Document
from shared.api import GROUP
from shared.hub.names import APPROVED_ANNOTATION, PLACED_FINALIZER, REQUESTER_ANNOTATION

COLLECTORS = (
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:storage-version-migrator-controller",
)
WRITERS = {
    f"placementdecisions.{GROUP}": "decision",
    f"placementdecisions.{GROUP}/status": "decision",  # which a hub has until its CRDs are upgraded from 0.1
    f"clusterrequests.{GROUP}": "decision",  # their status is of whoever provides clusters
    f"placementbindings.{GROUP}": "binding",
    f"placementbindings.{GROUP}/status": "binding",
    f"placementrevisions.{GROUP}": "binding",
    f"placements.{GROUP}/status": "status",
    f"placementpolicies.{GROUP}/status": "status",
    f"placementoverrides.{GROUP}/status": "controller",
    f"policyexceptions.{GROUP}/status": "controller",
    f"placementquotas.{GROUP}/status": "controller",
}
"""Which worker writes what, by resource and subresource."""
STAMPED = tuple(
    f"{plural}.{GROUP}" for plural in ("placements", "placementoverrides", "placementpolicies", "policyexceptions")
)
"""Of what it is recorded who wrote the spec."""
OPPOSED = ({"Force", "Exclude"}, {"Prefer", "Avoid"})
"""Types of overrides that cannot both hold for a target."""

WRITTEN_BY_HAND = f"the annotation {REQUESTER_ANNOTATION} records who last changed the spec and cannot be written"
NOT_APPROVED = "whoever approves a step of a rollout needs the verb approve on the Placement"
LED_BY_OTHERS = "clusterProfileRef is written by discovery alone"
BOUNDS_ITSELF = (
    "spec.workspace names the workspace that is bounded, below the one that the quota is in: nobody bounds themselves"
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


def named(new: Document, user: User) -> str:
    """The requester that the worker names which takes requests from the bus; empty where none is, or another writes."""
    confined = {SCOPES, CLUSTER_NAME}.intersection(dict(user.extra))
    given = (new["metadata"].get("annotations") or {}).get(REQUESTER_ANNOTATION)
    return given if INTAKE in user.groups and not confined and isinstance(given, str) else ""


def requester(new: Document, old: Document | None, user: User) -> str:
    """The annotation that a Placement, or PlacementOverride, is stored with: its author where it is made or its spec
    changes, or whom intake names, else what it had; empty where it has none."""
    if old is None or new.get("spec") != old.get("spec"):
        return named(new, user) or author(user)
    recorded = (old["metadata"].get("annotations") or {}).get(REQUESTER_ANNOTATION, "")
    return recorded if isinstance(recorded, str) else ""


def stamped(new: Document, old: Document | None, user: User) -> str:
    """Record who wrote the spec; the reason why that is refused, or nothing."""
    recorded = requester(new, old, user)
    annotations = new["metadata"].get("annotations") or {}
    if recorded:
        new["metadata"]["annotations"] = {**annotations, REQUESTER_ANNOTATION: recorded}
    elif annotations.get(REQUESTER_ANNOTATION):
        return WRITTEN_BY_HAND
    return ""


def approves(new: Document, old: Document | None) -> bool:
    """Whether a step of a rollout is approved by what is written."""
    before, after = (
        "" if each is None else (each["metadata"].get("annotations") or {}).get(APPROVED_ANNOTATION, "")
        for each in (old, new)
    )
    return after not in ("", before)


def held(new: Document, old: Document | None) -> None:
    """Have a new Placement stay, when it is deleted, until the controller says that nothing of it is placed."""
    finalizers = new["metadata"].get("finalizers") or []
    if old is not None:
        was_held = PLACED_FINALIZER in (old["metadata"].get("finalizers") or [])
        if not was_held or new["metadata"].get("deletionTimestamp"):
            return
    if PLACED_FINALIZER not in finalizers:
        new["metadata"]["finalizers"] = [*finalizers, PLACED_FINALIZER]


def led_by_others(new: Document, old: Document | None, user: User) -> bool:
    """Whether somebody else than discovery has a SyncTarget refer to a ClusterProfile, or to another one."""
    before, after = ((each or {}).get("spec", {}).get("clusterProfileRef") for each in (old, new))
    if after is None or after == before:
        return False
    confined = {key for key, _ in user.extra} & {SCOPES, CLUSTER_NAME}
    known = {ADMINS, KCP_ADMINS, "moorage:discovery"} & set(user.groups)
    return bool(confined or not (known or user.name == "system:serviceaccount:moorage-system:discovery"))


def contradiction(new: Document, others: Iterable[Document]) -> str:
    """Why an override contradicts another one; empty where it does not."""
    spec = new["spec"]
    for each in others:
        other, metadata = each["spec"], each["metadata"]
        ended = metadata.get("deletionTimestamp") or any(
            (condition["type"], condition["status"]) == ("Accepted", "False")
            for condition in (each.get("status") or {}).get("conditions") or ()
        )
        if (
            metadata["name"] != new["metadata"]["name"]
            and not ended
            and {spec["type"], other["type"]} in OPPOSED
            and spec.get("priority", 0) == other.get("priority", 0)
            and _together(spec, other)
            and any(_meet(one, another) for one in spec["targets"] for another in other["targets"])
        ):
            return (
                f"it contradicts the PlacementOverride {metadata['name']} ({other['type']}): take that back (moorage "
                f"unforce {metadata['name']}), or give one of them a higher priority"
            )
    return ""


def bounds_itself(new: Document) -> str:
    """Why a quota is refused where there are workspaces; empty where it bounds one below its own."""
    return "" if new["spec"].get("workspace") else BOUNDS_ITSELF


def _together(spec: Document, other: Document) -> bool:
    """Whether two overrides are surely about the same placements."""
    ours, theirs = spec.get("placementRef"), other.get("placementRef")
    if ours and theirs:
        named = ((each["name"], each.get("namespace") or "default") for each in (ours, theirs))
        return next(named) == next(named)
    selector = spec.get("placementSelector")
    return selector is not None and selector == other.get("placementSelector")


def _meet(one: Document, other: Document) -> bool:
    """Whether two references may be of one target."""
    where, there = one.get("workspace", ""), other.get("workspace", "")
    return bool(one["name"] == other["name"] and (not where or not there or where == there))


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

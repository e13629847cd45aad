"""PlacementBinding: what is applied for one Placement in one target."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.api.meta import (
    ApiObject,
    ApiStruct,
    Conditions,
    NonNegative,
    ObjectReference,
    PlacementReference,
    TargetReference,
    Time,
)

BindingPhase = Literal["Pending", "Applying", "Applied", "Ready", "Degraded", "Failed", "Removing", "Removed"]
Health = Literal["Healthy", "Progressing", "Degraded", "Unhealthy", "Unknown"]
Ending = Literal["", "Succeeded", "Failed", "Unseen"]


def applied_phase(objects: Iterable[Health]) -> BindingPhase:
    """The phase of a binding whose objects are all in the target, by their health: Ready when all are Healthy,
    Degraded when something is wrong with one, else no more than Applied.
    """
    found = set(objects)
    if found & {"Degraded", "Unhealthy"}:
        return "Degraded"
    return "Ready" if found <= {"Healthy"} else "Applied"


class ManifestReference(ObjectReference, frozen=True, kw_only=True):
    """An object that is to be applied, and what it contains."""

    hash: Annotated[str, Meta(description="SHA-256 of the content to apply, in hex.", max_length=64)] = ""
    source: Annotated[
        str, Meta(description="UID of the object of the workspace that it is; empty for manifests.", max_length=128)
    ] = ""
    source_generation: Annotated[int, Meta(description="Generation of that object.", ge=0)] = 0


class PlacementBindingSpec(ApiStruct, frozen=True, kw_only=True):
    """The objects that are to be in the target."""

    placement_ref: Annotated[PlacementReference, Meta(description="Placement that it is for.")]
    target: Annotated[TargetReference, Meta(description="Target that it is in.")]
    manifests: Annotated[
        tuple[ManifestReference, ...], Meta(description="Objects to apply, by content hash.", max_length=1024)
    ] = ()
    replicas: Annotated[NonNegative | None, Meta(description="Replicas here; absent means as the workload says.")] = (
        None
    )
    overrides_applied: Annotated[
        tuple[str, ...], Meta(description="The Placement's overrides that hold here.", max_length=64)
    ] = ()
    reserved: Annotated[
        dict[str, float],
        Meta(
            description="Amounts that are reserved here until this is applied, in base units (cores, bytes, pieces): "
            "what was decided, and not less than what ran before. Reservations that were lost are made anew from it.",
            max_length=64,
        ),
    ] = msgspec.field(default_factory=dict)
    shrinks_to: Annotated[
        Annotated[dict[str, float], Meta(max_length=64)] | None,
        Meta(description="What is left of reserved once this is applied; absent means all of it."),
    ] = None
    revision: Annotated[
        str,
        Meta(description="Revision of what is applied, where the Placement has a rollout; else empty.", max_length=64),
    ] = ""


class BoundObject(ApiStruct, frozen=True, kw_only=True):
    """An object in the target."""

    ref: Annotated[ObjectReference, Meta(description="The object.")]
    uid: Annotated[str, Meta(description="Its UID in the target.", max_length=128)] = ""
    generation: Annotated[int, Meta(description="Its generation in the target, once it was applied.", ge=0)] = 0
    health: Annotated[Health, Meta(description="Its health.")] = "Unknown"
    message: Annotated[str, Meta(description="Why, in one sentence.", max_length=2048)] = ""
    owned_fields: Annotated[
        str,
        Meta(
            description="Digest of the fields that Moorage owned when it last applied the object. Whoever changes or "
            "removes one of them takes it over, so that another digest in the target means drift.",
            max_length=64,
        ),
    ] = ""
    adopted: Annotated[
        bool, Meta(description="Whether it was in the target before, so that it is given back and not deleted.")
    ] = False
    hash: Annotated[str, Meta(description="SHA-256 of the content that was applied, in hex.", max_length=64)] = ""
    source: Annotated[str, Meta(description="UID of the object of the workspace that was applied.", max_length=128)] = (
        ""
    )
    source_generation: Annotated[int, Meta(description="Generation of that object, as it was applied.", ge=0)] = 0
    ended: Annotated[
        Ending,
        Meta(
            description="How it ran to its end, after which it is not applied again until it is changed, or made anew "
            "in the workspace. Unseen: it is gone, and has a time to live after its end."
        ),
    ] = ""
    expires: Annotated[bool, Meta(description="Whether it is deleted by its cluster some time after its end.")] = False
    work: Annotated[
        str,
        Meta(
            description="Digest of what it does, that is of all but its metadata and its share of pods, where it may "
            "run to its end: of the same work, what ended is not run again.",
            max_length=64,
        ),
    ] = ""


class ObjectDifference(ApiStruct, frozen=True, kw_only=True):
    """An object that is in the target otherwise than wanted, or not at all."""

    ref: Annotated[ObjectReference, Meta(description="The object.")]
    missing: Annotated[bool, Meta(description="Whether it is not there.")] = False
    fields: Annotated[
        tuple[Annotated[str, Meta(max_length=512)], ...],
        Meta(description="Fields that are otherwise than wanted; some, where there are many.", max_length=64),
    ] = ()


class AwaitedRevision(ApiStruct, frozen=True, kw_only=True):
    """A revision that waits for its turn in the rollout."""

    revision: Annotated[str, Meta(description="The revision.", max_length=64)]
    attempt: Annotated[int, Meta(description="Attempt that it was decided in; later ones count.", ge=0)]


class PlacementBindingStatus(ApiStruct, frozen=True, kw_only=True):
    """The objects that are in the target, and their health."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was applied.", ge=0)] = 0
    phase: Annotated[BindingPhase, Meta(description="Where the binding is in its life.")] = "Pending"
    conditions: Annotated[
        Conditions, Meta(description="Applied, Progressing, Available, ConflictFree and PermissionGranted.")
    ] = ()
    objects: Annotated[
        tuple[BoundObject, ...], Meta(description="Objects that were applied, and their health.", max_length=1024)
    ] = ()
    differences: Annotated[
        tuple[ObjectDifference, ...],
        Meta(description="With conflictPolicy Report: what is in the target otherwise than wanted.", max_length=1024),
    ] = ()
    awaits: Annotated[
        AwaitedRevision | None,
        Meta(description="Revision that this target is to get, and had to wait for when it was last looked at."),
    ] = None
    retries: Annotated[int, Meta(description="Attempts that failed since the last success.", ge=0)] = 0
    last_applied: Annotated[Time | None, Meta(description="When everything was last applied.")] = None


class PlacementBinding(ApiObject, frozen=True, kw_only=True, tag="PlacementBinding"):
    """Everything that is applied for one Placement in one target; owned by the Placement."""

    spec: Annotated[PlacementBindingSpec, Meta(description="Objects that are to be in the target.")]
    status: Annotated[PlacementBindingStatus, Meta(description="Objects in the target.")] = PlacementBindingStatus()

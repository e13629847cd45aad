"""PlacementRevision: what a Placement with a rollout placed once, to go back to."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, ObjectReference, PlacementReference
from shared.api.placement import Manifest, TargetOverride

MOST_KEPT_BYTES = 512 * 1024
"""What the contents of one revision may come to; of a larger one only hashes are kept."""


class RevisedObject(ApiStruct, frozen=True, kw_only=True):
    """An object of a revision, as its workspace had it."""

    ref: Annotated[ObjectReference, Meta(description="The object.")]
    source: Annotated[
        Literal["Workload", "Manifest", "Reference"],
        Meta(description="Whether it is of spec.workload or spec.manifests, or came along with these."),
    ]
    hash: Annotated[str, Meta(description="SHA-256 of its content, in hex.", max_length=64)]
    content: Annotated[
        Manifest | None,
        Meta(description="Its content; absent for Secrets, and where the revision is larger than 512 KiB."),
    ] = None


class PlacementRevisionSpec(ApiStruct, frozen=True, kw_only=True):
    """What was placed."""

    placement_ref: Annotated[PlacementReference, Meta(description="Placement that it was of.")]
    revision: Annotated[str, Meta(description="The revision, as PlacementBindings name it.", max_length=64)]
    attempt: Annotated[int, Meta(description="Attempt in which it was first, or again, applied somewhere.", ge=0)] = 0
    objects: Annotated[tuple[RevisedObject, ...], Meta(description="What was placed.", max_length=1024)] = ()
    overrides: Annotated[tuple[TargetOverride, ...], Meta(description="The Placement's overrides.", max_length=32)] = ()


class PlacementRevision(ApiObject, frozen=True, kw_only=True, tag="PlacementRevision"):
    """What a Placement with a rollout placed once; owned by the Placement, and written by Moorage alone."""

    spec: Annotated[PlacementRevisionSpec, Meta(description="What was placed.")]

"""PlacementOverride: an operator's hand on decisions. No worker acts on it yet; its status says so."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, Conditions, PlacementReference, TargetReference, Time, Validation
from shared.api.selectors import LabelSelector

OverrideType = Literal["Force", "Exclude", "Prefer", "Avoid"]


class PlacementOverrideSpec(ApiStruct, frozen=True, kw_only=True):
    """Which placements are overridden, how, and why."""

    validations = (
        Validation(
            "has(self.placementSelector) != has(self.placementRef)",
            "exactly one of placementSelector and placementRef must be given",
        ),
    )

    placement_selector: Annotated[
        LabelSelector | None, Meta(description="Placements that are overridden, by label.")
    ] = None
    placement_ref: Annotated[PlacementReference | None, Meta(description="The one Placement that is overridden.")] = (
        None
    )
    type: Annotated[
        OverrideType,
        Meta(description="Force and Exclude decide; Prefer adds 20 points to the score and Avoid takes 20."),
    ]
    targets: Annotated[
        tuple[TargetReference, ...], Meta(description="Targets that it is about.", min_length=1, max_length=256)
    ]
    reason: Annotated[str, Meta(description="Why, for whoever finds it later.", min_length=1, max_length=2048)]
    expires_at: Annotated[Time | None, Meta(description="When it ends; absent means never.")] = None
    priority: Annotated[int, Meta(description="Order among overrides; higher wins.", ge=-1000000, le=1000000)] = 0


class PlacementOverrideStatus(ApiStruct, frozen=True, kw_only=True):
    """State of the override: accepted or not."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was observed.", ge=0)] = 0
    conditions: Annotated[Conditions, Meta(description="Accepted: False, for no worker acts on overrides yet.")] = ()


class PlacementOverride(ApiObject, frozen=True, kw_only=True, tag="PlacementOverride"):
    """An operator's instruction for decisions, with its reason and its end. No worker acts on it yet."""

    spec: Annotated[PlacementOverrideSpec, Meta(description="The instruction.")]
    status: Annotated[PlacementOverrideStatus, Meta(description="Its state as observed.")] = PlacementOverrideStatus()

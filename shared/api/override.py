"""PlacementOverride: an operator's hand on decisions, with its reason and its end."""

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
        Validation(r"self.reason.matches('\\S')", "a reason must be given"),
        Validation(
            "!has(self.overCommit) || !self.overCommit || self.type == 'Force'",
            "overCommit is for type Force: nothing else places anything",
        ),
    )

    placement_selector: Annotated[
        LabelSelector | None,
        Meta(description="Placements that are overridden, by label, in this workspace and those below."),
    ] = None
    placement_ref: Annotated[
        PlacementReference | None,
        Meta(
            description="The Placement that is overridden, in this workspace, or of that name in those below. Without a"
            " namespace it is the one in default."
        ),
    ] = None
    type: Annotated[
        OverrideType,
        Meta(
            description="Force: these are among its targets, whatever they score and the Placement itself selects. "
            "Exclude: these are not. Prefer adds 20 points to the score of these, and Avoid takes 20."
        ),
    ]
    targets: Annotated[
        tuple[TargetReference, ...],
        Meta(
            description="Targets that it is about. Without a workspace: those of that name in any.",
            min_length=1,
            max_length=64,
        ),
    ]
    reason: Annotated[str, Meta(description="Why, for whoever finds it later.", min_length=1, max_length=2048)]
    expires_at: Annotated[Time | None, Meta(description="When it ends; absent means never.")] = None
    priority: Annotated[
        int, Meta(description="Order among overrides of one workspace; higher wins.", ge=-1000000, le=1000000)
    ] = 0
    over_commit: Annotated[
        bool,
        Meta(description="Force even where the targets have too little room: what runs there may suffer. Quotas hold."),
    ] = False


class PlacementOverrideStatus(ApiStruct, frozen=True, kw_only=True):
    """State of the override: whether it is in force."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was observed.", ge=0)] = 0
    conditions: Annotated[Conditions, Meta(description="Accepted: whether it is in force, and why it is not.")] = ()


class PlacementOverride(ApiObject, frozen=True, kw_only=True, tag="PlacementOverride"):
    """An operator's instruction for decisions, with its reason and its end."""

    spec: Annotated[PlacementOverrideSpec, Meta(description="The instruction.")]
    status: Annotated[PlacementOverrideStatus, Meta(description="Its state as observed.")] = PlacementOverrideStatus()

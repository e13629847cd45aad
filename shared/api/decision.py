"""PlacementDecision: what was decided for a Placement, and every number behind it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, NonNegative, TargetReference, Time
from shared.api.override import OverrideType

HISTORY_LIMIT = 10

REJECTION_MESSAGES = 4
"""Messages of one reason that are on record at most."""

MESSAGE_LENGTH = 512

MOST_OVERRIDES = 32
"""PlacementOverrides that are in force for one placement at most: the strongest."""

SLICE = 100
"""Targets that one object holds at most, as SIG Multicluster's PlacementDecision has it."""

SLICES = 100
"""Objects that one decision is written in at most."""


class ScorePart(ApiStruct, frozen=True, kw_only=True):
    """One scorer's part of a score."""

    raw: Annotated[float, Meta(description="The scorer's own score, 0 to 100.")]
    weight: Annotated[float, Meta(description="The scorer's weight.")]
    weighted: Annotated[float, Meta(description="The score times the weight.")]


class ScoredTarget(ApiStruct, frozen=True, kw_only=True):
    """A target that was chosen, or could have been."""

    target: Annotated[TargetReference, Meta(description="The target.")]
    replicas: Annotated[
        NonNegative | None, Meta(description="Replicas that it gets; absent means as the workload says.")
    ] = None
    score: Annotated[float, Meta(description="Total score, 0 to 100.")] = 0.0
    breakdown: Annotated[
        dict[str, ScorePart], Meta(description="Contribution of each scorer to the total.", max_length=64)
    ] = msgspec.field(default_factory=dict)
    policy: Annotated[
        dict[str, str], Meta(description="Outcome of each policy rule on the target.", max_length=256)
    ] = msgspec.field(default_factory=dict)
    overrides: Annotated[
        tuple[NonNegative, ...],
        Meta(description="Overrides of the Placement that hold there, by their places in its spec.", max_length=32),
    ] = ()
    reserved: Annotated[
        dict[str, float],
        Meta(
            description="Amounts that are reserved there, in base units (cores, bytes, pieces).",
            max_length=64,
        ),
    ] = msgspec.field(default_factory=dict)
    reason: Annotated[str, Meta(description="Why the target was chosen, in one sentence.", max_length=2048)] = ""
    passed_over: Annotated[
        str,
        Meta(
            description="For which target that scores less it was not taken, and by which rule. Empty where there is "
            "none.",
            max_length=2048,
        ),
    ] = ""
    facts: Annotated[
        str, Meta(description="Digest of the facts on the target that decided, as they were.", max_length=64)
    ] = ""


class ClusterDecision(ApiStruct, frozen=True, kw_only=True):
    """A target that was chosen, as tools read it that look for clusters by name.

    All values are text, since some of these tools take nothing else.
    """

    cluster_name: Annotated[str, Meta(description="Name of the SyncTarget.", max_length=253)]
    workspace: Annotated[str, Meta(description="Workspace that offers it; empty on a Kubernetes hub.", max_length=256)]
    replicas: Annotated[str, Meta(description="Replicas that it gets; empty: as the workload says.", max_length=20)]
    score: Annotated[str, Meta(description="Total score, 0 to 100.", max_length=20)]
    reason: Annotated[str, Meta(description="Why the target was chosen, in one sentence.", max_length=2048)]


class RejectionMessage(ApiStruct, frozen=True, kw_only=True):
    """What is said of some of the targets that one reason excluded."""

    message: Annotated[str, Meta(description="A few words for people.", max_length=MESSAGE_LENGTH)]
    count: Annotated[int, Meta(description="Of how many targets.", ge=0)] = 0
    detail: Annotated[
        str, Meta(description="The numbers, such as what was needed and what there was.", max_length=MESSAGE_LENGTH)
    ] = ""


class Rejection(ApiStruct, frozen=True, kw_only=True):
    """The targets that one reason excluded."""

    count: Annotated[int, Meta(description="How many targets it excluded.", ge=0)]
    samples: Annotated[
        tuple[str, ...],
        Meta(description="A few of those that the requester may use, as workspace/name.", max_length=16),
    ] = ()
    messages: Annotated[
        tuple[RejectionMessage, ...],
        Meta(description="What is said of them, the most frequent first.", max_length=REJECTION_MESSAGES),
    ] = ()


class AppliedOverride(ApiStruct, frozen=True, kw_only=True):
    """An operator's override that was in force for the decision."""

    name: Annotated[str, Meta(description="Name of the PlacementOverride.", max_length=253)]
    workspace: Annotated[
        str, Meta(description="Workspace that it is in; empty on a Kubernetes hub.", max_length=256)
    ] = ""
    type: Annotated[OverrideType, Meta(description="The kind of override.")]
    targets: Annotated[tuple[TargetReference, ...], Meta(description="Targets that it was about.", max_length=64)] = ()
    reason: Annotated[str, Meta(description="The operator's reason.", max_length=2048)] = ""
    expires_at: Annotated[Time | None, Meta(description="When it ends; absent means never.")] = None
    over_commit: Annotated[bool, Meta(description="Whether it let targets be given more than they have.")] = False


class HistoryEntry(ApiStruct, frozen=True, kw_only=True):
    """One earlier change of the decision."""

    when: Annotated[Time, Meta(description="When it was decided.")]
    why: Annotated[str, Meta(description="The cause, in one sentence.", max_length=2048)]
    from_: Annotated[tuple[TargetReference, ...], Meta(description="Targets before.", max_length=1024)] = msgspec.field(
        default=(), name="from"
    )
    to: Annotated[tuple[TargetReference, ...], Meta(description="Targets after.", max_length=1024)] = ()


class PlacementDecisionStatus(ApiStruct, frozen=True, kw_only=True):
    """The decision. No subresource: an object is written as a whole."""

    revision: Annotated[
        str, Meta(description="Equal on all slices of a decision; empty where there is only one.", max_length=64)
    ] = ""
    slices: Annotated[
        int,
        Meta(description="How many objects the decision is written in, a hundred targets in each.", ge=1, le=SLICES),
    ] = 1

    observed_generation: Annotated[int, Meta(description="Generation of the Placement that was decided.", ge=0)] = 0
    attempt: Annotated[int, Meta(description="Attempt at that generation, from 1.", ge=0)] = 0
    inventory_revision: Annotated[int, Meta(description="Inventory that the decision was made from.", ge=0)] = 0
    input_digest: Annotated[
        str,
        Meta(
            description="Digest of the workload that was decided, and of what the Placement makes of it: nothing else "
            "is applied. Empty where an older version decided.",
            max_length=64,
        ),
    ] = ""
    facts: Annotated[
        tuple[Annotated[str, Meta(max_length=400)], ...],
        Meta(
            description="Facts on a target that rules or required affinity read, such as labels.region: where one of"
            " them changes on a chosen target, it is decided anew.",
            max_length=256,
        ),
    ] = ()
    strategy: Annotated[str, Meta(description="Strategy that proposed it.", max_length=63)] = ""
    decisions: Annotated[
        Annotated[tuple[ClusterDecision, ...], Meta(max_length=SLICE)] | None,
        Meta(description="The chosen targets in short. Absent where an older version decided."),
    ] = None
    selected: Annotated[tuple[ScoredTarget, ...], Meta(description="Targets that were chosen.", max_length=10000)] = ()
    alternates: Annotated[
        tuple[ScoredTarget, ...], Meta(description="Targets that come next, best first.", max_length=32)
    ] = ()
    rejected: Annotated[dict[str, Rejection], Meta(description="Excluded targets by reason.", max_length=64)] = (
        msgspec.field(default_factory=dict)
    )
    rationale: Annotated[str, Meta(description="The decision in one sentence.", max_length=4096)] = ""
    overrides: Annotated[
        tuple[AppliedOverride, ...],
        Meta(
            description="PlacementOverrides that were in force for it, the strongest first.", max_length=MOST_OVERRIDES
        ),
    ] = ()
    considered: Annotated[
        int, Meta(description="How many targets were looked at. Absent where an older version decided.", ge=0)
    ] = 0
    refusal: Annotated[
        str,
        Meta(
            description="Why nothing could be decided in this attempt, as one word; what was selected before stays. "
            "Empty where it was decided.",
            max_length=63,
        ),
    ] = ""
    requested_since: Annotated[
        Time | None,
        Meta(description="Since when a ClusterRequest of this name asks for what is missing; absent: there is none."),
    ] = None
    decided_at: Annotated[Time | None, Meta(description="When it was decided.")] = None
    duration_milliseconds: Annotated[float, Meta(description="From request to decision, in milliseconds.", ge=0)] = 0.0
    history: Annotated[
        tuple[HistoryEntry, ...], Meta(description="The last ten changes, newest first.", max_length=HISTORY_LIMIT)
    ] = ()


class PlacementDecision(ApiObject, frozen=True, kw_only=True, tag="PlacementDecision"):
    """The decision on a Placement, with its reasons; owned by the Placement of the same name."""

    status: Annotated[PlacementDecisionStatus, Meta(description="The decision.")] = PlacementDecisionStatus()

"""ClusterRequest: what is missing where nothing fits a Placement, for whoever can provide clusters."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.api.affinity import AffinityTerm
from shared.api.meta import ApiObject, ApiStruct, Conditions, LabelKey, Name, PlacementReference, Quantity, Time
from shared.api.selectors import LabelSelector, WorkspaceSelector

MOST_APIS = 128
"""Kinds that a request names at most."""

MOST_REFUSED = 16
"""Reasons why targets fell out that a request names at most, the most frequent first."""

MOST_SAID_OF_REFUSED = 512
"""Characters that are said of one of them."""

MOST_SAID_OF_REFUSAL = 2048
"""Characters of the sentence that says why nothing could be decided."""


class MissingTargets(ApiStruct, frozen=True, kw_only=True):
    """How many targets would do, and what each of them must have room for."""

    targets: Annotated[int, Meta(description="How many targets are missing.", ge=1)] = 1
    replicas: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Replicas that each must have room for; absent where each runs all of the workload."),
    ] = None
    resources: Annotated[
        dict[str, Quantity],
        Meta(
            description="What must be free in each, for these replicas. What runs on every node is counted for one.",
            max_length=64,
        ),
    ] = msgspec.field(default_factory=dict)


class NeededApi(ApiStruct, frozen=True, kw_only=True):
    """A kind that a target must serve."""

    api_version: Annotated[str, Meta(description="API version of the kind.", max_length=317)]
    kind: Annotated[str, Meta(description="The kind.", max_length=63)]


class ClusterRequirements(ApiStruct, frozen=True, kw_only=True):
    """What a target must be like to come into question, as the Placement says it. Policies may ask for more."""

    selector: Annotated[LabelSelector | None, Meta(description="Labels that it must have.")] = None
    any_of: Annotated[
        tuple[AffinityTerm, ...],
        Meta(description="Of these terms on its labels at least one must hold; empty: there is none.", max_length=16),
    ] = ()
    topology_keys: Annotated[
        tuple[LabelKey, ...], Meta(description="Labels that it must have, of any value.", max_length=8)
    ] = ()
    names: Annotated[tuple[Name, ...], Meta(description="Names it may have; empty means any.", max_length=256)] = ()
    workspaces: Annotated[WorkspaceSelector, Meta(description="Workspaces that may offer it; empty means any.")] = (
        WorkspaceSelector()
    )
    apis: Annotated[tuple[NeededApi, ...], Meta(description="Kinds that it must serve.", max_length=MOST_APIS)] = ()


class RefusedTargets(ApiStruct, frozen=True, kw_only=True):
    """Targets there are that one reason excluded."""

    reason: Annotated[str, Meta(description="The reason, as one word.", max_length=317)]
    count: Annotated[int, Meta(description="How many targets.", ge=0)]
    message: Annotated[str, Meta(description="What is said of most of them.", max_length=MOST_SAID_OF_REFUSED)] = ""


class ClusterRequestSpec(ApiStruct, frozen=True, kw_only=True):
    """What is missing, for whom, and since when."""

    placement_ref: Annotated[PlacementReference, Meta(description="The Placement that nothing fits.")]
    workspace: Annotated[str, Meta(description="Its workspace; empty on a Kubernetes hub.", max_length=256)] = ""
    since: Annotated[Time, Meta(description="Since when it is asked for without a pause.")]
    reason: Annotated[str, Meta(description="Why nothing could be decided, as one word.", max_length=63)]
    message: Annotated[str, Meta(description="The same in one sentence.", max_length=MOST_SAID_OF_REFUSAL)] = ""
    missing: Annotated[MissingTargets, Meta(description="How many targets would do, and what each must have room for.")]
    requirements: Annotated[
        ClusterRequirements, Meta(description="What a target must be like to come into question.")
    ] = ClusterRequirements()
    rejected: Annotated[
        tuple[RefusedTargets, ...],
        Meta(description="Why the targets that there are fell out, the most first.", max_length=MOST_REFUSED),
    ] = ()


class ClusterRequestStatus(ApiStruct, frozen=True, kw_only=True):
    """What whoever provides clusters says of it. Moorage writes none of it."""

    conditions: Annotated[
        Conditions,
        Meta(
            description="Accepted: whether somebody sees to it. Provisioned: whether what is missing is there, and why "
            "it is not. `moorage explain` shows these, and any others."
        ),
    ] = ()


class ClusterRequest(ApiObject, frozen=True, kw_only=True, tag="ClusterRequest"):
    """Targets that are missing for a Placement; of its name, owned by it, and deleted when it is needed no more."""

    spec: Annotated[ClusterRequestSpec, Meta(description="What is missing, as Moorage writes it.")]
    status: Annotated[ClusterRequestStatus, Meta(description="What whoever provides clusters says of it.")] = (
        ClusterRequestStatus()
    )

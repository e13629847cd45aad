"""PolicyException: for whom rules of a PlacementPolicy do not count, why, and until when."""

from typing import Annotated

from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, Conditions, Name, Time, Validation
from shared.api.policy import PolicyMatch, RuleName


class PolicyExceptionSpec(ApiStruct, frozen=True, kw_only=True):
    """Which rules do not count for which placements. It lives with the policy, so whoever may write there grants it."""

    validations = (
        Validation(
            "(has(self.match.workspaces) && size(self.match.workspaces) > 0) || "
            "(has(self.match.namespaces) && size(self.match.namespaces) > 0) || "
            "(has(self.match.subjects) && size(self.match.subjects) > 0)",
            "an exception says for which workspaces, namespaces or subjects it is",
        ),
        Validation(
            "!has(self.match.workspaceSelector) && !has(self.match.namespaceSelector)",
            "labels of workspaces and namespaces make nobody exempt: name them",
        ),
    )

    policy: Annotated[Name, Meta(description="Name of the PlacementPolicy, which lives in the same workspace.")]
    rules: Annotated[
        tuple[RuleName, ...],
        Meta(
            description="Rules of the policy that do not count; empty means all.",
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
    match: Annotated[
        PolicyMatch,
        Meta(
            description="Placements that it is for, by what their owners cannot change on them. A Placement that does "
            "not record who asks is not matched by subjects here."
        ),
    ]
    placements: Annotated[
        tuple[Name, ...],
        Meta(
            description="Names of the Placements among these; empty means all.",
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
    reason: Annotated[
        str, Meta(description="Why it is granted, for whoever finds it later.", min_length=1, max_length=1024)
    ]
    expires_at: Annotated[Time, Meta(description="When it ends.")]


class PolicyExceptionStatus(ApiStruct, frozen=True, kw_only=True):
    """State of the exception: whether it is in force."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was observed.", ge=0)] = 0
    conditions: Annotated[
        Conditions, Meta(description="InForce: whether it is, who granted it, and why it is not in force.")
    ] = ()


class PolicyException(ApiObject, frozen=True, kw_only=True, tag="PolicyException"):
    """An exception from a PlacementPolicy, granted in the policy's own workspace, with its reason and its end."""

    spec: Annotated[PolicyExceptionSpec, Meta(description="What is granted to whom.")]
    status: Annotated[PolicyExceptionStatus, Meta(description="Its state as observed.")] = PolicyExceptionStatus()

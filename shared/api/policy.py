"""PlacementPolicy: rules in CEL, and trusted providers, that hold in a workspace and everywhere below it."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, Conditions, Name, Sentence, Validation, WorkspacePath
from shared.api.selectors import LabelSelector

RuleEffect = Literal["Require", "Forbid", "Prefer", "Avoid"]

Expression = Annotated[str, Meta(min_length=1, max_length=16384)]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$", max_length=63)]


class Variable(ApiStruct, frozen=True, kw_only=True):
    """A named CEL expression that rules use as variables.<name>."""

    name: Annotated[str, Meta(description="Name of the variable.", pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]
    expression: Annotated[Expression, Meta(description="CEL expression of its value.")]


class Rule(ApiStruct, frozen=True, kw_only=True):
    """One CEL rule about a target."""

    validations = (
        Validation(
            "!(has(self.message) && has(self.messageExpression))", "message and messageExpression exclude each other"
        ),
    )

    name: Annotated[RuleName, Meta(description="Name of the rule, unique among its neighbours.")]
    expression: Annotated[Expression, Meta(description="CEL expression that says true or false of a target.")]
    effect: Annotated[
        RuleEffect, Meta(description="Require and Forbid decide; Prefer and Avoid add or take the weight.")
    ] = "Require"
    weight: Annotated[int, Meta(description="How much Prefer or Avoid counts.", ge=0, le=100)] = 50
    message: Annotated[Sentence | None, Meta(description="The reason given where the rule excludes a target.")] = None
    message_expression: Annotated[
        Expression | None, Meta(description="CEL expression of that message, instead of a fixed one.")
    ] = None


Rules = Annotated[
    tuple[Rule, ...],
    Meta(max_length=64, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]


class Subject(ApiStruct, frozen=True, kw_only=True):
    """A user or a group, after rbac/v1 Subject; a ServiceAccount is a user, system:serviceaccount:<ns>:<name>."""

    kind: Annotated[Literal["User", "Group"], Meta(description="What the name is of.")]
    name: Annotated[str, Meta(description="Name of the user or group.", min_length=1, max_length=1024)]


NamespacePattern = Annotated[
    str, Meta(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|([a-z0-9][-a-z0-9]*)?[*])$", max_length=63)
]
_Workspaces = Annotated[tuple[WorkspacePath, ...], Meta(max_length=64)]
_Namespaces = Annotated[tuple[NamespacePattern, ...], Meta(max_length=64)]


class PolicyMatch(ApiStruct, frozen=True, kw_only=True):
    """Placements by what their owners cannot change on them. All that is given must match."""

    workspaces: Annotated[_Workspaces, Meta(description="Workspaces, each with all below it; empty means any.")] = ()
    excluded_workspaces: Annotated[
        _Workspaces, Meta(description="Workspaces, each with all below it, that are left out.")
    ] = ()
    namespaces: Annotated[
        _Namespaces, Meta(description="Namespaces, by name or by its beginning before a *; empty means any.")
    ] = ()
    excluded_namespaces: Annotated[
        _Namespaces, Meta(description="Namespaces that are left out, by name or by its beginning before a *.")
    ] = ()
    workspace_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Workspaces below the policy's own by their labels, each with all below it; in the policy's "
            "own its labels count. A workspace whose labels are not known is matched."
        ),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None,
        Meta(description="Namespaces by their labels. One whose labels are not known is matched."),
    ] = None
    subjects: Annotated[
        tuple[Subject, ...],
        Meta(
            description="Who last changed what the Placement asks for; empty means anybody. A Placement that does not "
            "record who that is, is matched.",
            max_length=64,
        ),
    ] = ()


class ParamRef(ApiStruct, frozen=True, kw_only=True):
    """The object that rules know as `params`, after ParamRef of a ValidatingAdmissionPolicyBinding."""

    validations = (Validation("self.apiVersion != 'v1' || self.kind != 'Secret'", "rules do not see Secrets"),)

    api_version: Annotated[str, Meta(description="API version of the object.", min_length=1, max_length=317)]
    kind: Annotated[str, Meta(description="Kind of the object.", min_length=1, max_length=63)]
    namespace: Annotated[
        str,
        Meta(
            description="Namespace of the object, in the policy's workspace; empty for cluster-scoped kinds.",
            max_length=63,
        ),
    ] = ""
    name: Annotated[Name, Meta(description="Name of the object.")]
    parameter_not_found_action: Annotated[
        Literal["Allow", "Deny"],
        Meta(
            description="What holds where the object is not there. Allow: the rules do not count. Deny: each of them "
            "fails, which has the meaning that failurePolicy gives it."
        ),
    ]


class PlacementPolicySpec(ApiStruct, frozen=True, kw_only=True):
    """Which rules hold for which placements on which targets, and who else may offer targets to them."""

    validations = (
        Validation(
            "(has(self.rules) && size(self.rules) > 0) || (has(self.providers) && size(self.providers) > 0)",
            "a policy has rules, or names providers",
        ),
    )

    match: Annotated[
        PolicyMatch | None,
        Meta(
            description="Placements that the policy holds for, by what their owners cannot change on them; absent "
            "means all in its workspace and below."
        ),
    ] = None
    placement_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Placements that the policy holds for, by labels, which their owners can change; absent means "
            "all."
        ),
    ] = None
    target_selector: Annotated[
        LabelSelector | None, Meta(description="Targets that the rules judge; absent means all.")
    ] = None
    param_ref: Annotated[
        ParamRef | None,
        Meta(
            description="An object of the policy's workspace that expressions know as `params`; at most 16 KiB of it."
        ),
    ] = None
    variables: Annotated[
        tuple[Variable, ...],
        Meta(
            description="Expressions that rules share, in order: each may use those before it.",
            max_length=32,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    rules: Annotated[Rules, Meta(description="The rules.")] = ()
    providers: Annotated[
        tuple[WorkspacePath, ...],
        Meta(
            description="Workspaces whose targets, and those of all workspaces below them, are candidates for the "
            "placements, besides those of their own workspace and its ancestors. Only an Enforced policy names any.",
            max_length=64,
        ),
    ] = ()
    enforcement: Annotated[
        Literal["Enforced", "DryRun", "Warn"],
        Meta(description="Enforced acts, DryRun only records, Warn records and says so on the Placement."),
    ] = "Enforced"
    failure_policy: Annotated[
        Literal["Fail", "Ignore"],
        Meta(
            description="The meaning of an expression's error: under Fail, Require and Forbid exclude the target, and "
            "Prefer and Avoid earn nothing; under Ignore the rule does not count for that target."
        ),
    ] = "Fail"
    priority: Annotated[
        int, Meta(description="Order among policies of one workspace; higher goes first.", ge=-1000000, le=1000000)
    ] = 0


class RuleCount(ApiStruct, frozen=True, kw_only=True):
    """How often a rule was met."""

    name: Annotated[RuleName, Meta(description="Name of the rule.")]
    evaluated: Annotated[int, Meta(description="Targets that it was evaluated on.", ge=0)] = 0
    matched: Annotated[int, Meta(description="Targets that its expression was true for.", ge=0)] = 0
    errors: Annotated[int, Meta(description="Targets that its expression failed on.", ge=0)] = 0


class PlacementPolicyStatus(ApiStruct, frozen=True, kw_only=True):
    """State of the policy: the findings of its check, and counts of what its rules did."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was compiled.", ge=0)] = 0
    conditions: Annotated[Conditions, Meta(description="Compiled, with the line and column of the first error.")] = ()
    rules: Annotated[
        tuple[RuleCount, ...],
        Meta(
            description="Counts per rule, since the policy last changed.",
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()


class PlacementPolicy(ApiObject, frozen=True, kw_only=True, tag="PlacementPolicy"):
    """Rules about where placements may and should run, in this workspace and every workspace below."""

    spec: Annotated[PlacementPolicySpec, Meta(description="The rules and whom they hold for.")]
    status: Annotated[PlacementPolicyStatus, Meta(description="Findings and counts.")] = PlacementPolicyStatus()

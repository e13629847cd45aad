"""Label selectors, affinity expressions, taints and tolerations, and what they mean, to Kubernetes' letter."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.api.meta import ApiStruct, LabelKey, Time, Validation, WorkspacePath

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

_VALUES_FIT_OPERATOR = Validation(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : true",
    "values must name at least one value for the operators In and NotIn",
)
_NO_VALUES = Validation(
    "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : true",
    "values must be empty for the operators Exists and DoesNotExist",
)
_ONE_INTEGER = Validation(
    "self.operator in ['Gt', 'Lt'] ? has(self.values) && size(self.values) == 1 : true",
    "values must hold exactly one integer for the operators Gt and Lt",
)
_Values = Annotated[tuple[Annotated[str, Meta(max_length=63)], ...], Meta(max_length=64)]


_CANONICAL = re.compile("0|-?[1-9][0-9]*")


class LabelRequirement(ApiStruct, frozen=True, kw_only=True):
    """One condition on a label, after metav1.LabelSelectorRequirement."""

    validations = (_VALUES_FIT_OPERATOR, _NO_VALUES)

    key: Annotated[LabelKey, Meta(description="Label key that is looked at.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"], Meta(description="How the label relates to the values.")
    ]
    values: Annotated[_Values, Meta(description="Values for In and NotIn.")] = ()


class LabelSelector(ApiStruct, frozen=True, kw_only=True):
    """Selects by labels, after metav1.LabelSelector: all parts must match, and an empty selector matches everything."""

    match_labels: Annotated[
        dict[str, Annotated[str, Meta(max_length=63)]],
        Meta(description="Labels that must have exactly these values.", max_length=64),
    ] = msgspec.field(default_factory=dict)
    match_expressions: Annotated[
        tuple[LabelRequirement, ...], Meta(description="Further conditions on labels.", max_length=32)
    ] = ()


class AffinityRequirement(ApiStruct, frozen=True, kw_only=True):
    """One condition on a target's label, after core/v1 NodeSelectorRequirement."""

    validations = (_VALUES_FIT_OPERATOR, _NO_VALUES, _ONE_INTEGER)

    key: Annotated[LabelKey, Meta(description="Label key that is looked at.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
        Meta(description="How the label relates to the values; Gt and Lt compare as integers."),
    ]
    values: Annotated[_Values, Meta(description="Values for In and NotIn, or the one integer for Gt and Lt.")] = ()


class WorkspaceSelector(ApiStruct, frozen=True, kw_only=True):
    """A choice of workspaces; without paths and selector, all of them."""

    paths: Annotated[
        tuple[WorkspacePath, ...], Meta(description="Workspaces by path; empty means any.", max_length=64)
    ] = ()
    include_descendants: Annotated[bool, Meta(description="If true, workspaces below those paths count too.")] = True
    selector: Annotated[LabelSelector | None, Meta(description="Labels that the workspace must have.")] = None


class Taint(ApiStruct, frozen=True, kw_only=True):
    """A mark that keeps placements away from a target unless they tolerate it, after core/v1 Taint."""

    key: Annotated[LabelKey, Meta(description="Taint key.")]
    effect: Annotated[
        Effect, Meta(description="NoSchedule refuses, PreferNoSchedule discourages, NoExecute also evicts.")
    ]
    value: Annotated[str, Meta(description="Taint value.", max_length=63)] = ""
    time_added: Annotated[
        Time | None, Meta(description="When it was added, from which tolerationSeconds count; absent: once it is seen.")
    ] = None


class Toleration(ApiStruct, frozen=True, kw_only=True):
    """A taint that a placement accepts, after core/v1 Toleration."""

    validations = (
        Validation(
            "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
            "operator must be Exists when key is empty",
        ),
        Validation(
            "!(has(self.operator) && self.operator == 'Exists') || !has(self.value) || self.value == ''",
            "value must be empty when operator is Exists",
        ),
        Validation(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds goes with the effect NoExecute only",
        ),
        Validation(
            "!(has(self.operator) && self.operator in ['Gt', 'Lt']) "
            "|| (has(self.value) && self.value.matches('^(0|-?[1-9][0-9]{0,18})$'))",
            "value must be a whole number, as people write it, for the operators Gt and Lt",
        ),
    )

    key: Annotated[str, Meta(description="Taint key; empty with Exists tolerates every taint.", max_length=317)] = ""
    operator: Annotated[
        Literal["Equal", "Exists", "Gt", "Lt", ""],
        Meta(
            description="Equal (or nothing) compares the value, Exists takes any; Gt and Lt take taints whose value is "
            "a greater or lesser whole number."
        ),
    ] = "Equal"
    value: Annotated[str, Meta(description="What the taint's value is compared with.", max_length=63)] = ""
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] | None,
        Meta(description="Effect that is tolerated; absent or empty means all effects."),
    ] = None
    toleration_seconds: Annotated[
        int | None, Meta(description="How long NoExecute is tolerated, in seconds; absent means for ever.")
    ] = None


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """True if the labels satisfy the selector; an absent selector restricts nothing."""
    if selector is None:
        return True
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and matches_all(
        selector.match_expressions, labels
    )


def matches_all(requirements: Iterable[LabelRequirement | AffinityRequirement], labels: Mapping[str, str]) -> bool:
    """True if the labels satisfy every requirement."""
    return all(_satisfies(requirement, labels) for requirement in requirements)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """True if the toleration covers the taint, after Kubernetes' Toleration.ToleratesTaint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "Gt" | "Lt":
            return _compares_taint(toleration, taint)
        case _:
            return toleration.value == taint.value


def _compares_taint(toleration: Toleration, taint: Taint) -> bool:
    """Gt and Lt: both sides must be 64-bit integers as people write them (no plus, no zeros before), else no match."""
    found, bound = canonical_int64(taint.value), canonical_int64(toleration.value)
    if found is None or bound is None:
        return False
    return found > bound if toleration.operator == "Gt" else found < bound


def _satisfies(requirement: LabelRequirement | AffinityRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return value is not None and _compares(requirement, value)


def _compares(requirement: LabelRequirement | AffinityRequirement, value: str) -> bool:
    """Gt and Lt: both sides must be 64-bit integers, else nothing matches."""
    if len(requirement.values) != 1:
        return False
    label, bound = int64(value), int64(requirement.values[0])
    if label is None or bound is None:
        return False
    return label > bound if requirement.operator == "Gt" else label < bound


def canonical_int64(text: str) -> int | None:
    """The 64-bit integer that a text is as people write it, with no plus and no zeros before; else None."""
    return int64(text) if _CANONICAL.fullmatch(text) else None


def int64(text: str) -> int | None:
    """The integer that Go's strconv.ParseInt(text, 10, 64) reads, or None; Python's int() is laxer."""
    if not re.fullmatch(r"[+-]?[0-9]{1,64}", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None

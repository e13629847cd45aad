"""Parts that all kinds share: object metadata, references, conditions, quantities and times."""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

GROUP = "placement.moorage.io"
VERSION = "v1alpha1"
API_VERSION: Literal["placement.moorage.io/v1alpha1"] = "placement.moorage.io/v1alpha1"

Time = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]
"""An RFC 3339 time; it stays text, because the API server's text is what is compared and written back."""

Duration = Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", max_length=32)]
"""A duration as Kubernetes writes it, such as 90s or 1h30m."""

_AMOUNT = r"([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"

Quantity = Annotated[str, Meta(pattern=rf"^[+-]?{_AMOUNT}", max_length=64)] | int
"""A Kubernetes quantity: text such as 500m or 4Gi, or a whole number."""

Limit = Annotated[str, Meta(pattern=rf"^\+?{_AMOUNT}", max_length=64)] | Annotated[int, Meta(ge=0)]
"""A quantity that is not negative."""

NonNegative = Annotated[int, Meta(ge=0)]
Cardinal = Annotated[int, Meta(ge=1, le=10000)]
"""A number of targets or domains."""

NumberOrPercent = (
    Annotated[int, Meta(ge=0, le=10000)] | Annotated[str, Meta(pattern=r"^([1-9][0-9]?|100)%$", max_length=4)]
)
"""A number of targets, 0 included, or a percentage such as 30%."""

Sentence = Annotated[str, Meta(max_length=2048)]
Pointer = Annotated[str, Meta(max_length=1024)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)]
WorkspacePath = Annotated[str, Meta(pattern=r"^[a-z0-9]([-.:a-z0-9]*[a-z0-9])?$", max_length=256)]
LabelKey = Annotated[str, Meta(min_length=1, max_length=317)]


class Validation(msgspec.Struct, frozen=True):
    """One CEL rule of a CRD schema (`x-kubernetes-validations`): what must hold, and what to say when it does not."""

    rule: str
    message: str


class ApiStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every part of the API: immutable, camelCase on the wire, unset parts left out, unknown fields ignored."""

    validations: ClassVar[tuple[Validation, ...]] = ()


def _api_version() -> Literal["placement.moorage.io/v1alpha1"]:
    return API_VERSION


class OwnerReference(ApiStruct, frozen=True, kw_only=True):
    """The object that owns another, for garbage collection."""

    api_version: Annotated[str, Meta(description="API version of the owner.")]
    kind: Annotated[str, Meta(description="Kind of the owner.")]
    name: Annotated[str, Meta(description="Name of the owner.")]
    uid: Annotated[str, Meta(description="UID of the owner.")]
    controller: Annotated[bool, Meta(description="True for the owner that is the managing controller.")] = False
    block_owner_deletion: Annotated[
        bool, Meta(description="If true, the owner stays until this object is gone, under foreground deletion.")
    ] = False


class ObjectMeta(ApiStruct, frozen=True, kw_only=True):
    """Standard Kubernetes object metadata, as far as Moorage reads or writes it."""

    name: Annotated[str, Meta(description="Name, unique within the namespace or workspace.")] = ""
    namespace: Annotated[str, Meta(description="Namespace; empty for cluster-scoped objects.")] = ""
    uid: Annotated[str, Meta(description="Identity given by the API server.")] = ""
    resource_version: Annotated[str, Meta(description="Opaque version for compare-and-set writes.")] = ""
    generation: Annotated[int, Meta(description="Counts the changes of the spec.")] = 0
    labels: Annotated[dict[str, str], Meta(description="Labels, for selection.")] = msgspec.field(default_factory=dict)
    annotations: Annotated[dict[str, str], Meta(description="Annotations, for everything else.")] = msgspec.field(
        default_factory=dict
    )
    finalizers: Annotated[tuple[str, ...], Meta(description="Who must finish before the object may vanish.")] = ()
    owner_references: Annotated[tuple[OwnerReference, ...], Meta(description="Objects that own this one.")] = ()
    creation_timestamp: Annotated[Time | None, Meta(description="When the object was created.")] = None
    deletion_timestamp: Annotated[Time | None, Meta(description="When its deletion was asked for.")] = None


class ApiObject(ApiStruct, frozen=True, kw_only=True, tag_field="kind"):
    """A whole object. `kind` is the struct's tag: always written, and checked on reading where it is present."""

    # A factory, because omit_defaults would leave out a plain default and apiVersion must always be written.
    api_version: Annotated[
        Literal["placement.moorage.io/v1alpha1"], Meta(description="API group and version of the object.")
    ] = msgspec.field(default_factory=_api_version)
    metadata: Annotated[ObjectMeta, Meta(description="Standard object metadata.")] = ObjectMeta()


class ObjectReference(ApiStruct, frozen=True, kw_only=True):
    """A reference to one Kubernetes object of any kind."""

    api_version: Annotated[str, Meta(description="API version of the object.", max_length=317)]
    kind: Annotated[str, Meta(description="Kind of the object.", max_length=63)]
    name: Annotated[str, Meta(description="Name of the object.", max_length=253)]
    namespace: Annotated[str, Meta(description="Namespace; empty for cluster-scoped objects.", max_length=63)] = ""

    def __str__(self) -> str:
        """`apps/v1 Deployment shop/cart`, as people write it."""
        return f"{self.api_version} {self.kind} {self.namespace}/{self.name}"


class PlacementReference(ApiStruct, frozen=True, kw_only=True):
    """A reference to a Placement."""

    name: Annotated[Name, Meta(description="Name of the Placement.")]
    namespace: Annotated[str, Meta(description="Namespace of the Placement.", max_length=63)] = ""
    uid: Annotated[
        str, Meta(description="UID of the Placement; empty means whichever has the name.", max_length=128)
    ] = ""


class TargetReference(ApiStruct, frozen=True, kw_only=True):
    """A reference to a SyncTarget."""

    name: Annotated[Name, Meta(description="Name of the SyncTarget.")]
    workspace: Annotated[
        str,
        Meta(description="Workspace that offers it; empty means whichever offers one of that name.", max_length=256),
    ] = ""


class Condition(ApiStruct, frozen=True, kw_only=True):
    """One observation about an object, after metav1.Condition."""

    type: Annotated[str, Meta(description="The aspect that is observed, in CamelCase.", min_length=1, max_length=316)]
    status: Annotated[
        Literal["True", "False", "Unknown"],
        Meta(description="True if it holds."),
    ]
    last_transition_time: Annotated[Time, Meta(description="When the status last changed.")]
    reason: Annotated[str, Meta(description="Why, as one CamelCase word for machines.", max_length=1024)] = ""
    message: Annotated[str, Meta(description="Why, as a sentence for people.", max_length=32768)] = ""
    observed_generation: Annotated[int, Meta(description="Generation of the spec that was observed.", ge=0)] = 0


Conditions = Annotated[
    tuple[Condition, ...],
    Meta(
        max_length=32,
        extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


def get_condition(conditions: Sequence[Condition], type: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type), None)


def set_condition(
    conditions: Sequence[Condition],
    type: str,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: str,
    observed_generation: int = 0,
) -> tuple[Condition, ...]:
    """The conditions with one set: replaced in place, or appended.

    `now` (RFC 3339) becomes lastTransitionTime only when the status differs from before, as in metav1.
    """
    previous = get_condition(conditions, type)
    changed_at = previous.last_transition_time if previous is not None and previous.status == status else now
    new = Condition(
        type=type,
        status=status,
        last_transition_time=changed_at,
        reason=reason,
        message=message,
        observed_generation=observed_generation,
    )
    if previous is None:
        return (*conditions, new)
    return tuple(new if condition.type == type else condition for condition in conditions)


def percent(text: str) -> int:
    """The number in a percentage such as 30%."""
    return int(text.removesuffix("%"))


_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_seconds(duration: str) -> float:
    """Seconds of a Kubernetes duration such as 1h30m.

    Raises:
        ValueError: the text is no duration.
    """
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+", duration):
        raise ValueError(f"{duration!r} is not a duration such as 90s or 1h30m")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", duration)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)

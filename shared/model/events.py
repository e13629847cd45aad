"""What the events of a placement say: the data of each type, a struct each.

An event states one fact, in the field's words. Its type is `io.moorage.placement.<kind>.v1`; whatever may be read of it
is here, and stays readable: fields are added, and none changes its meaning without another version of the type.
"""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from shared.model.refs import PlacementRef, TargetRef
from shared.model.value import Value

MOST_TARGETS = 100
"""Targets that one event names. A decision for more of them has slices, which are read from the hub."""

Targets = Annotated[tuple[TargetRef, ...], Meta(description=f"The targets, {MOST_TARGETS} at most.")]


class EventData(Value, frozen=True, kw_only=True):
    """What the data of every event has: the placement, and which version of its wish the fact is about."""

    kind: ClassVar[str]

    placement: Annotated[PlacementRef, Meta(description="Workspace (empty on a hub without), namespace and name.")]
    uid: Annotated[str, Meta(description="UID of the Placement object.")]
    generation: Annotated[int, Meta(description="Generation of its spec.")]
    attempt: Annotated[int, Meta(description="Counts the rounds in which it is decided; newer facts have higher ones.")]


class RequestedData(EventData, frozen=True, kw_only=True):
    """A round began: the placement is to be decided (again)."""

    kind: ClassVar[str] = "requested"
    cause: Annotated[str, Meta(description="Why now, as one word for programs, such as Created or TargetLost.")]
    detail: Annotated[str, Meta(description="More of the cause, for people.")] = ""
    requester: Annotated[str, Meta(description="The user on whose behalf targets are authorized.")] = ""


class DecidedTarget(Value, frozen=True, kw_only=True):
    """One target of a decision."""

    target: TargetRef
    score: Annotated[float, Meta(description="How well it suits, 0 to 100.")]
    replicas: Annotated[int | None, Meta(description="Replicas there; none for kinds without.")] = None


class DecidedData(EventData, frozen=True, kw_only=True):
    """It is decided where the placement runs, and room is reserved there."""

    kind: ClassVar[str] = "decided"
    targets: Annotated[tuple[DecidedTarget, ...], Meta(description=f"Those chosen, the best {MOST_TARGETS} at most.")]
    selected: Annotated[int, Meta(description="How many were chosen.")]
    considered: Annotated[int, Meta(description="Out of how many.")]
    cause: Annotated[str, Meta(description="Why it was to be decided, as the event before has it.")] = ""


class RefusedData(EventData, frozen=True, kw_only=True):
    """Nothing could be decided. It stays on the targets that were chosen before, if any were, unless it has to leave
    them for others, and is tried again when something changed.
    """

    kind: ClassVar[str] = "refused"
    code: Annotated[str, Meta(description="Why, as one word for programs.")]
    message: Annotated[str, Meta(description="Why, as a sentence for people.")]
    stage: Annotated[str, Meta(description="The stage of the pipeline that left nothing.")] = ""
    targets: Targets = ()


class MovedData(EventData, frozen=True, kw_only=True):
    """A decision leaves targets. What is there is removed once the others have taken over."""

    kind: ClassVar[str] = "moved"
    from_: Targets = msgspec.field(name="from", default=())
    to: Targets = ()
    cause: Annotated[str, Meta(description="Why it was to be decided, as one word for programs.")] = ""
    detail: Annotated[str, Meta(description="More of the cause, for people.")] = ""


class TargetLostData(EventData, frozen=True, kw_only=True):
    """The placement has to leave a target: it is lost, gone, or does not want it there any more."""

    kind: ClassVar[str] = "targetlost"
    target: TargetRef


class PreemptedData(EventData, frozen=True, kw_only=True):
    """The placement has to leave a target for others of higher priority. It goes elsewhere where it fits; where it
    fits nowhere it leaves all the same.
    """

    kind: ClassVar[str] = "preempted"
    target: TargetRef
    by: Annotated[str, Meta(description="For whom, in words: names only where they are in its own namespace.")] = ""


class BoundData(EventData, frozen=True, kw_only=True):
    """All objects are applied in one target, as they were decided in this attempt."""

    kind: ClassVar[str] = "bound"
    target: TargetRef
    objects: Annotated[int, Meta(description="How many.")]


class FailedData(EventData, frozen=True, kw_only=True):
    """The objects could not be applied in one target. It is tried again, ever later."""

    kind: ClassVar[str] = "failed"
    target: TargetRef
    reason: Annotated[str, Meta(description="Why, as one word for programs.")] = ""
    message: Annotated[str, Meta(description="Why, as a sentence for people.")] = ""


class ReadyData(EventData, frozen=True, kw_only=True):
    """All objects are applied and healthy in every target that was chosen; where none is wanted, all are removed."""

    kind: ClassVar[str] = "ready"
    targets: Annotated[int, Meta(description="How many targets; 0 where none is wanted.")]


class DegradedData(EventData, frozen=True, kw_only=True):
    """Something is wrong in a target: objects are ill, could not be applied, or nothing is heard of them."""

    kind: ClassVar[str] = "degraded"
    targets: Annotated[int, Meta(description="How many targets were chosen.")]
    degraded: Annotated[int, Meta(description="In how many of them something is wrong.")]
    message: Annotated[str, Meta(description="What, as a sentence for people.")] = ""


class SuspendedData(EventData, frozen=True, kw_only=True):
    """The placement is suspended: whatever runs stays as it is."""

    kind: ClassVar[str] = "suspended"


class RemovedData(EventData, frozen=True, kw_only=True):
    """Nothing of the placement is left in one target; or, where no target is named, in any: the Placement goes."""

    kind: ClassVar[str] = "removed"
    target: TargetRef | None = None
    message: Annotated[str, Meta(description="What else is to be said, as where objects were left.")] = ""


EVENTS: tuple[type[EventData], ...] = (
    RequestedData,
    DecidedData,
    RefusedData,
    MovedData,
    TargetLostData,
    PreemptedData,
    BoundData,
    FailedData,
    ReadyData,
    DegradedData,
    SuspendedData,
    RemovedData,
)
"""The data of each type, in the order in which a placement's life has them."""


def type_of(kind: str) -> str:
    """The type of an event, as CloudEvents have it."""
    return f"io.moorage.placement.{kind}.v1"

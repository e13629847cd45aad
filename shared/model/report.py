"""How what was placed is in one target."""

from typing import TYPE_CHECKING, Annotated, get_args

import msgspec
from msgspec import Meta

from shared.api import BoundObject, Ending, Health
from shared.model.refs import Head, PlacementRef
from shared.model.value import Value

_HEALTHS = frozenset(get_args(Health))
_ENDINGS = frozenset(get_args(Ending))


class PartCondition(Value, frozen=True, kw_only=True):
    """A condition of an object in one target; `since` is its last transition, in RFC 3339."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: str = ""


class PartStatus(Value, frozen=True, kw_only=True):
    """What an object in one target says of itself that the workspace's object shows as well: fields of its status by
    their paths below it, numbers and texts. It is of this `generation`; its controller has `observed` that one, or says
    nothing of it (None).
    """

    generation: int = 0
    observed: int | None = None
    numbers: dict[str, int] = {}
    texts: dict[str, str] = {}
    conditions: tuple[PartCondition, ...] = ()


class ObjectHealth(Value, frozen=True, kw_only=True):
    """Health of one applied object in one target.

    On the wire `health` is open: a word that another version says and this one does not know is read as Unknown.
    `ended` says how that of this `uid` ran to its end, `expires` whether its cluster deletes it some time after that.
    `owned_fields` is the digest of the fields that Moorage owns of it there, empty where that is not known.
    `generation` is its own as it was applied, of the workspace's object with the uid `source` in `source_generation`.
    """

    ref: str
    if TYPE_CHECKING:
        health: Health
    else:
        health: Annotated[str, Meta(examples=[*get_args(Health)])]
    message: str = ""
    replicas: int | None = None
    ready: int | None = None
    owned_fields: str = ""
    uid: str = ""
    if TYPE_CHECKING:
        ended: Ending = ""
    else:
        ended: Annotated[str, Meta(examples=[*get_args(Ending)])] = ""
    expires: bool = False
    generation: int = 0
    source: str = ""
    source_generation: int = 0
    status: PartStatus | None = None

    def __post_init__(self) -> None:
        if self.health not in _HEALTHS:
            msgspec.structs.force_setattr(self, "health", "Unknown")
        if self.ended not in _ENDINGS:
            msgspec.structs.force_setattr(self, "ended", "Unseen")


def recorded(obj: BoundObject) -> ObjectHealth:
    """The health of an object as its PlacementBinding has it."""
    return ObjectHealth(
        ref=str(obj.ref),
        health=obj.health,
        message=obj.message,
        uid=obj.uid,
        ended=obj.ended,
        expires=obj.expires,
        generation=obj.generation,
        source=obj.source,
        source_generation=obj.source_generation,
    )


class TargetReport(Value, frozen=True, kw_only=True):
    """The health of one placement in one target, as status sees it.

    `version` is that of the PlacementBinding that the rest is from; empty where 0.1 wrote the report. `silent` says why
    nothing is known of the target now, as the copy of status that watches it has it.
    """

    placement: PlacementRef
    head: Head
    target: str
    phase: str
    message: str = ""
    objects: tuple[ObjectHealth, ...] = ()
    observed_at: float = 0.0
    version: str = ""
    silent: str = ""
    block: int = 0  # of the message that it was last bound for
    traceparent: str = ""  # of the trace by which it was last bound

"""How what was placed is in one target."""

from typing import TYPE_CHECKING, Annotated, get_args

import msgspec
from msgspec import Meta

from shared.api import Health
from shared.model.refs import Head, PlacementRef
from shared.model.value import Value

_HEALTHS = frozenset(get_args(Health))


class ObjectHealth(Value, frozen=True, kw_only=True):
    """Health of one applied object in one target.

    On the wire `health` is open: a word that another version says and this one does not know is read as Unknown.
    `owned_fields` is the digest of the fields that Moorage owns of it there, empty where that is not known.
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

    def __post_init__(self) -> None:
        if self.health not in _HEALTHS:
            msgspec.structs.force_setattr(self, "health", "Unknown")


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

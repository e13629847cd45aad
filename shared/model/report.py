"""How what was placed is in one target."""

from typing import Literal

from shared.model.refs import Head, PlacementRef
from shared.model.value import Value


class ObjectHealth(Value, frozen=True, kw_only=True):
    """Health of one applied object in one target.

    `owned_fields` is the digest of the fields that Moorage owns of it there, empty where that is not known.
    """

    ref: str
    health: Literal["Healthy", "Progressing", "Degraded", "Unhealthy", "Unknown"]
    message: str = ""
    replicas: int | None = None
    ready: int | None = None
    owned_fields: str = ""


class TargetReport(Value, frozen=True, kw_only=True):
    """What status knows of one placement in one target."""

    placement: PlacementRef
    head: Head
    target: str
    phase: str
    message: str = ""
    objects: tuple[ObjectHealth, ...] = ()
    observed_at: float = 0.0

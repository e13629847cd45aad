"""The settings of the binding worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import AccessSettings


class BindingSettings(AccessSettings, frozen=True, kw_only=True):
    """The settings of the binding worker."""

    apply_timeout_seconds: Annotated[
        float, Meta(description="Seconds that applying (or removing) everything in one target may take.", gt=0)
    ] = 20.0
    lease_margin_seconds: Annotated[
        float,
        Meta(
            description="Seconds beyond apply_timeout_seconds after which another worker takes over a binding whose "
            "worker died. Must be more than the clocks of two workers differ.",
            ge=0,
        ),
    ] = 5.0
    retry_initial_seconds: Annotated[
        float, Meta(description="Seconds until the first retry after a failure that passes; doubles each time.", gt=0)
    ] = 1.0
    retry_max_seconds: Annotated[float, Meta(description="Most seconds between two retries.", gt=0)] = 60.0
    refused_retry_seconds: Annotated[
        float,
        Meta(
            description="Seconds between retries where somebody has to act: no rights, a conflict, no such kind.", gt=0
        ),
    ] = 60.0
    removing_retry_seconds: Annotated[
        float,
        Meta(description="Most seconds between two looks at what is deleted in a target, and still there.", gt=0),
    ] = 10.0
    unused_namespace_seconds: Annotated[
        float,
        Meta(
            description="How long nothing is placed in a namespace that we made in a target, in seconds, before it is "
            "removed, if there is nothing of anybody else in it either. 0: never.",
            ge=0,
        ),
    ] = 300.0
    health_seconds: Annotated[
        float,
        Meta(
            description="How long the PlacementBinding of what was applied just now may wait, in seconds, so that it "
            "says at once how the objects are. 0: it says first that they are applied. Best longer than what status "
            "waits with progress (write_seconds).",
            ge=0,
        ),
    ] = 1.5
    drift_seconds: Annotated[
        float,
        Meta(
            description="Least seconds between applying to a target and correcting what somebody changed there since.",
            ge=0,
        ),
    ] = 10.0
    lost_retry_seconds: Annotated[
        float, Meta(description="Least seconds between two attempts on a target that is lost.", ge=0)
    ] = 120.0
    breaker_failures: Annotated[
        int, Meta(description="Failures in a row after which a target is left alone for a while.", ge=1)
    ] = 3
    breaker_seconds: Annotated[
        float, Meta(description="For how long it is left alone at first, in seconds; doubles each time.", gt=0)
    ] = 2.0
    handover_seconds: Annotated[
        float,
        Meta(
            description="When a placement moves: how long the old target keeps it after the new one has it applied, "
            "should it not become healthy there sooner.",
            ge=0,
        ),
    ] = 60.0

    @property
    def lease(self) -> float:
        """Seconds for which one worker alone acts on a binding."""
        return self.apply_timeout_seconds + self.lease_margin_seconds

"""How hard a Placement holds on to where it is."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.api.meta import ApiStruct, Cardinal, Duration, NonNegative


class Rebalance(ApiStruct, frozen=True, kw_only=True):
    """When a healthy placement moves to better targets."""

    type: Annotated[
        Literal["Never", "WhenBetter"], Meta(description="With WhenBetter it moves, with Never it stays.")
    ] = "Never"
    by: Annotated[float, Meta(description="Points of score that a move must gain.", ge=0, le=100)] = 10.0
    cooldown: Annotated[Duration, Meta(description="Least time between two moves.")] = "10m"


class Stability(ApiStruct, frozen=True, kw_only=True):
    """How hard the placement holds on to where it is."""

    stickiness: Annotated[
        float, Meta(description="Points that targets gain where the placement runs already.", ge=0, le=100)
    ] = 10.0
    rebalance: Annotated[Rebalance, Meta(description="When a healthy placement moves.")] = Rebalance()
    eviction_toleration_seconds: Annotated[
        NonNegative | None,
        Meta(description="How long a lost target is waited for; absent means the default of the installation."),
    ] = None
    disruption_budget: Annotated[
        Cardinal | None,
        Meta(
            description="Most targets that it leaves at a time for better ones, or for taints (a drain); those that it "
            "is just being removed from count. Lost targets are left in any case, and a better tier is moved to as a "
            "whole. Absent means any number."
        ),
    ] = None

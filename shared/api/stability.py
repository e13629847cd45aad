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
    moves: Annotated[
        Literal["MakeBeforeBreak", "BreakBeforeMake"],
        Meta(
            description="With MakeBeforeBreak it is taken away where it was once it is healthy where it goes. With "
            "BreakBeforeMake, which is for what may not run twice at once, nothing starts in a target before all is "
            "gone, pods included, from those that it leaves; and a lost target is not left by itself, since it may "
            "still run there."
        ),
    ] = "MakeBeforeBreak"
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

    @property
    def breaks_first(self) -> bool:
        """Whether what was is gone before what is new starts."""
        return self.moves == "BreakBeforeMake"

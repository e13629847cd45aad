"""The settings of the controller worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import AccessSettings


class ControllerSettings(AccessSettings, frozen=True, kw_only=True):
    """The settings of the controller worker."""

    resync_seconds: Annotated[
        float, Meta(description="Seconds after which a request that got no answer is made again.", gt=0)
    ] = 30.0
    in_place_seconds: Annotated[
        float,
        Meta(
            description="Seconds after which a placement that was decided and is not in place everywhere has another"
            " round: whoever was told to apply it may not have heard, or may have given up. Each round in vain doubles"
            " them, up to 16 times.",
            gt=0,
        ),
    ] = 600.0
    sweep_seconds: Annotated[
        float, Meta(description="How often waiting placements and lost targets are looked through, in seconds.", gt=0)
    ] = 1.0
    waiting_initial_seconds: Annotated[
        float, Meta(description="Seconds until a placement that no target fits is tried again the first time.", gt=0)
    ] = 10.0
    waiting_max_seconds: Annotated[float, Meta(description="The longest such pause, in seconds.", gt=0)] = 300.0
    eviction_toleration_seconds: Annotated[
        float,
        Meta(description="Seconds that a lost target is waited for, where neither it nor the placement says.", ge=0),
    ] = 300.0
    missing_seconds: Annotated[
        float, Meta(description="Seconds after which a target that is in no inventory any more counts as gone.", ge=0)
    ] = 10.0
    rebalance_seconds: Annotated[
        float,
        Meta(description="Least seconds between two looks for better targets for one placement that wants them.", gt=0),
    ] = 60.0
    brake_share: Annotated[
        float,
        Meta(
            description="Share of the targets of a workspace, a region, or the whole, over which nothing is moved away"
            " from those that were lost: then it is our own network that is broken. 1: there is no such brake.",
            gt=0,
            le=1,
        ),
    ] = 0.55
    brake_window_seconds: Annotated[
        float, Meta(description="Losses of targets with no longer a pause in between count as one.", gt=0)
    ] = 600.0
    brake_settle_seconds: Annotated[
        float,
        Meta(
            description="Seconds for which no lost target is left, however little is tolerated, so that others are"
            " missed that were lost with it; never more than what is tolerated where nobody says.",
            ge=0,
        ),
    ] = 30.0
    max_targets_left_per_minute: Annotated[
        int,
        Meta(
            description="Targets a minute, one after the other, that all placements leave at once when they are lost,"
            " gone or tainted; 0: none.",
            ge=0,
        ),
    ] = 6
    max_moves_per_minute: Annotated[
        int,
        Meta(
            description="Placements a minute that leave other targets which are lost, gone or tainted; 0: no bound.",
            ge=0,
        ),
    ] = 300
    max_workspace_moves_per_minute: Annotated[
        int, Meta(description="The same for the placements of one workspace; 0: no bound.", ge=0)
    ] = 60
    max_workspace_placements: Annotated[
        int,
        Meta(description="Placements of one workspace that are decided; those beyond are refused. 0: no bound.", ge=0),
    ] = 5000
    max_workspace_quotas: Annotated[
        int,
        Meta(
            description="PlacementQuotas of one workspace that are in force, the oldest; the others say on their status"
            " that they are not. 0: no bound.",
            ge=0,
        ),
    ] = 100
    max_workspace_rounds_per_minute: Annotated[
        int,
        Meta(
            description="Rounds a minute for the placements of one workspace, each later if need be. 0: no bound.", ge=0
        ),
    ] = 1200
    reconcile_concurrency: Annotated[
        int, Meta(description="How many placements are looked at at the same time.", ge=1, le=256)
    ] = 16
    forget_heads_seconds: Annotated[
        float, Meta(description="Seconds for which the head of a deleted placement is kept.", ge=3600)
    ] = 172_800.0

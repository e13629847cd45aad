"""The settings of the scheduler worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import Settings

PLUGINS = "moorage.plugins"
"""Below it are the subjects on which scorers and filters in other processes are asked."""


class SchedulerSettings(Settings, frozen=True, kw_only=True):
    """Weights and bounds that hold where a Placement says nothing."""

    resource_weight: Annotated[float, Meta(description="Weight of the scorer Resource.", ge=0)] = 100.0
    affinity_weight: Annotated[float, Meta(description="Weight of the scorer Affinity.", ge=0)] = 80.0
    load_weight: Annotated[float, Meta(description="Weight of the scorer Load.", ge=0)] = 60.0
    latency_weight: Annotated[float, Meta(description="Weight of the scorer Latency.", ge=0)] = 40.0
    policy_weight: Annotated[
        float, Meta(description="Weight of the policy's score beside the scorers, with combine: Weighted.", ge=0)
    ] = 100.0
    origin: Annotated[str, Meta(description="Where latency is measured from, unless a Placement names origins.")] = (
        "hub"
    )
    latency_cutoff_milliseconds: Annotated[
        float, Meta(description="Milliseconds at which Latency gives 0 points.", gt=0)
    ] = 300.0
    latency_tolerance_milliseconds: Annotated[
        float, Meta(description="Milliseconds by which a target may be further than the nearest, and as good.", ge=0)
    ] = 10.0
    taint_penalty: Annotated[
        float, Meta(description="Points that each untolerated PreferNoSchedule taint takes in Affinity.", ge=0, le=100)
    ] = 25.0
    spread_key: Annotated[
        str, Meta(description="Topology label that the strategy Spread fills where a Placement names none.")
    ] = "topology.kubernetes.io/region"
    alternates: Annotated[int, Meta(description="Fewest alternates that a proposal ranks.", ge=0, le=32)] = 8
    assumed_seconds: Annotated[
        float,
        Meta(
            description="How long what is proposed counts as taken, for the proposals after it, unless it is seen to be"
            " reserved before. 0: not at all.",
            ge=0,
        ),
    ] = 30.0
    catch_up_seconds: Annotated[
        float, Meta(description="How long a message may wait for the inventory it was made from.", gt=0)
    ] = 5.0
    plugin_filters: Annotated[
        str, Meta(description="Plugins that filter the candidates of every placement, by name, separated by commas.")
    ] = ""
    plugin_seconds: Annotated[float, Meta(description="How long a plugin may take to answer.", gt=0)] = 0.25
    plugin_rest_seconds: Annotated[
        float, Meta(description="How long one that failed to answer is not asked again.", ge=0)
    ] = 5.0

"""The settings of the decision worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import PreemptionSettings


class DecisionSettings(PreemptionSettings, frozen=True, kw_only=True):
    """The settings of the decision worker."""

    contended_retry_seconds: Annotated[
        float, Meta(description="Seconds until a lost race for a target is run again.", gt=0)
    ] = 0.2
    release_seconds: Annotated[
        float, Meta(description="How often reservations of placements that are gone are looked for, in seconds.", gt=0)
    ] = 60.0
    hold_check_seconds: Annotated[
        float, Meta(description="How often it is looked for holds that end, in seconds.", gt=0)
    ] = 1.0
    preemption_seconds: Annotated[
        float,
        Meta(
            description="Seconds that placements which have to leave for another one may take. After that the other one"
            " gives up, and they are not asked again before they are decided anew.",
            gt=0,
        ),
    ] = 600.0
    quota_seconds: Annotated[
        float,
        Meta(description="How often quotas are charged less for what targets have given back, in seconds.", gt=0),
    ] = 1.0
    vanished_seconds: Annotated[
        float,
        Meta(
            description="Seconds for which the hub must say that a workspace is gone, until what its placements left in"
            " targets is removed.",
            ge=0,
        ),
    ] = 3600.0
    forget_released_seconds: Annotated[
        float,
        Meta(description="Seconds for which a released reservation is kept; longer than any message lives.", ge=3600),
    ] = 172_800.0
    standard_decisions: Annotated[
        bool,
        Meta(description="Write a PlacementDecision of SIG Multicluster (multicluster.x-k8s.io) beside each of ours."),
    ] = False
    cluster_profile_namespace: Annotated[
        str, Meta(description="The namespace of the ClusterProfiles that these name; empty: the decision's own.")
    ] = ""

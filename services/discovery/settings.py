"""The settings of the discovery worker."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.process.settings import PreemptionSettings


class DiscoverySettings(PreemptionSettings, frozen=True, kw_only=True):
    """The settings of the discovery worker."""

    roots: Annotated[
        str,
        Meta(description="Workspaces at which the walk begins, separated by commas; system workspaces only if named."),
    ] = "root"
    trusted_providers: Annotated[
        str,
        Meta(
            description="Workspaces, separated by commas, whose targets (and those of all workspaces below) are"
            " candidates for every Placement. Those of others are for whom a Placement or a PlacementPolicy names them."
        ),
    ] = ""
    max_depth: Annotated[int, Meta(description="Levels of workspaces below a root that are followed.", ge=0)] = 16
    walk_concurrency: Annotated[int, Meta(description="Workspaces that are read at once.", ge=1)] = 16
    workspace_timeout_seconds: Annotated[
        float, Meta(description="How long one workspace may hold up the walk; it is tried again beside it.", gt=0)
    ] = 10.0
    rewalk_interval_seconds: Annotated[
        float, Meta(description="How often what is stored is compared with all that is known.", gt=0)
    ] = 60.0
    absent_retry_seconds: Annotated[
        float, Meta(description="How often a workspace is asked again that serves no SyncTargets or refuses us.", gt=0)
    ] = 30.0
    max_workspace_targets: Annotated[
        int,
        Meta(description="SyncTargets that one workspace may offer; what comes beyond is refused. 0: no bound.", ge=0),
    ] = 5000
    derive_from_namespace: Annotated[
        str,
        Meta(
            description="The namespace of each workspace of whose ClusterProfiles (multicluster.x-k8s.io) SyncTargets"
            " are made, where a Secret there has a kubeconfig for Moorage; empty: none are.",
            max_length=63,
        ),
    ] = ""
    profile_gone_seconds: Annotated[
        float,
        Meta(description="How long a ClusterProfile must be gone until the SyncTarget made of it is deleted.", ge=0),
    ] = 60.0
    probe_interval_seconds: Annotated[
        float, Meta(description="Time between two probes of a target's /readyz.", gt=0)
    ] = 20.0
    probe_timeout_seconds: Annotated[
        float, Meta(description="How long a probe may take before it has failed.", gt=0)
    ] = 5.0
    probe_concurrency: Annotated[int, Meta(description="Targets that are probed at once.", ge=1)] = 256
    lost_after_seconds: Annotated[
        float, Meta(description="How long a target may fail before it counts as lost.", gt=0)
    ] = 60.0
    refused_limit: Annotated[
        int, Meta(description="Refused connections in a row after which a target counts as lost at once.", ge=1)
    ] = 3
    capacity_interval_seconds: Annotated[
        float, Meta(description="How often a target's nodes and pods are read.", gt=0)
    ] = 60.0
    api_interval_seconds: Annotated[
        float, Meta(description="How often a target's served APIs are read where no change shows.", gt=0)
    ] = 300.0
    followed_targets: Annotated[
        int,
        Meta(
            description="Targets whose CustomResourceDefinitions and APIServices are followed, by two connections to"
            " each; of what is beyond, APIs are read by time alone.",
            ge=0,
        ),
    ] = 2000
    heartbeat_interval_seconds: Annotated[
        float, Meta(description="How often a SyncTarget's status is written when nothing but the time changed.", gt=0)
    ] = 300.0
    cluster_identity: Annotated[
        Literal["KubeSystem", "KubeSystemOrAddress"],
        Meta(
            description="How SyncTargets for one cluster are recognized: by the uid of its namespace kube-system, which"
            " must be readable, or else by its server's address and authority, which can be given the slip."
        ),
    ] = "KubeSystem"
    origin: Annotated[str, Meta(description="The name under which measured latencies are kept.", min_length=1)] = "hub"

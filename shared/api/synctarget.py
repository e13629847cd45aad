"""SyncTarget: a cluster that a workspace offers."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from shared.aio.equals import first_equal
from shared.api.meta import (
    ApiObject,
    ApiStruct,
    Conditions,
    Duration,
    Limit,
    Name,
    NonNegative,
    Quantity,
    Time,
    Validation,
)
from shared.api.selectors import Taint, WorkspaceSelector

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"

Resources = Annotated[dict[str, Quantity], Meta(max_length=64)]


class SecretKeyReference(ApiStruct, frozen=True, kw_only=True):
    """One key of a Secret in the workspace that offers the cluster."""

    name: Annotated[Name, Meta(description="Name of the Secret.")]
    namespace: Annotated[Name, Meta(description="Namespace of the Secret.")]
    key: Annotated[str, Meta(description="Key within the Secret.", max_length=253)] = "kubeconfig"


class ClusterProfileReference(ApiStruct, frozen=True, kw_only=True):
    """A ClusterProfile (multicluster.x-k8s.io) in the workspace that offers the cluster."""

    name: Annotated[Name, Meta(description="Name of the ClusterProfile: that of the SyncTarget.")]
    namespace: Annotated[Name, Meta(description="Namespace of the ClusterProfile.")]


class Agent(ApiStruct, frozen=True, kw_only=True):
    """Says that an agent beside the cluster carries its connections; it has no settings of its own."""


class Cost(ApiStruct, frozen=True, kw_only=True):
    """Prices of the cluster, for the Cost scorer."""

    currency: Annotated[str, Meta(description="ISO 4217 code of the currency.", pattern="^[A-Z]{3}$")] = "USD"
    per_cpu_hour: Annotated[float, Meta(description="Price of one CPU for one hour.", ge=0)] = 0.0
    per_gib_hour: Annotated[float, Meta(description="Price of one GiB of memory for one hour.", ge=0)] = msgspec.field(
        default=0.0, name="perGiBHour"
    )


class Quota(ApiStruct, frozen=True, kw_only=True):
    """The most that the placements of some workspaces may together reserve in the cluster, after core/v1 ResourceQuota.

    To lower it moves nothing that runs: it only keeps placements there from growing.
    """

    validations = (
        Validation(
            "self.hard.all(name, !name.startsWith('requests.') && !name.startsWith('limits.'))",
            "hard names resources as containers request them: cpu, not requests.cpu",
        ),
    )

    workspace: Annotated[
        str,
        Meta(
            description="Path of the workspace that is bounded together with all below it; with a trailing ! it alone;"
            " empty means all workspaces together.",
            pattern=r"^([a-z0-9]([-.:a-z0-9]*[a-z0-9])?!?)?$",
            max_length=257,
        ),
    ]
    hard: Annotated[
        dict[str, Limit],
        Meta(
            description="The most per resource, as containers request it, or pods; what is not named has no bound.",
            max_length=64,
        ),
    ]


class PlaceableKind(ApiStruct, frozen=True, kw_only=True):
    """A kind of objects."""

    group: Annotated[str, Meta(description="API group; empty is the core group.", max_length=253)] = ""
    kind: Annotated[str, Meta(description="Kind, such as RoleBinding.", min_length=1, max_length=63)]


NamespacePattern = Annotated[str, Meta(pattern=r"^([a-z0-9][-a-z0-9]*)?\*?$", min_length=1, max_length=63)]

LabelPattern = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][-A-Za-z0-9_./]*)?\*?$", min_length=1, max_length=317)]

NamespaceMode = Literal["Claimed", "PerWorkspace"]
Adoption = Literal["Never", "IfEqual", "TakeOver"]


class SyncTargetSpec(ApiStruct, frozen=True, kw_only=True):
    """How a cluster is reached, and who may place what on it."""

    validations = (
        Validation(
            "!(has(self.clusterProfileRef) && (has(self.kubeconfigSecretRef) || has(self.agent)))",
            "clusterProfileRef excludes kubeconfigSecretRef and agent",
        ),
    )

    kubeconfig_secret_ref: Annotated[
        SecretKeyReference | None,
        Meta(description="Secret with the kubeconfig of the account that workers have in the cluster."),
    ] = None
    agent: Annotated[
        Agent | None,
        Meta(
            description="Set where nobody can connect to the cluster: an agent beside it (`moorage worker tunnel`)"
            " connects to NATS, and workers reach its API server through that alone; who they are there is as the"
            " kubeconfig says."
        ),
    ] = None
    cluster_profile_ref: Annotated[
        ClusterProfileReference | None,
        Meta(
            description="ClusterProfile that says how the cluster is reached, by an access provider that the operator"
            " lists; written by discovery alone."
        ),
    ] = None
    taints: Annotated[
        tuple[Taint, ...], Meta(description="Keep away placements that do not tolerate them.", max_length=64)
    ] = ()
    unschedulable: Annotated[bool, Meta(description="If true, new placements are refused.")] = False
    evict_after: Annotated[
        Duration | None,
        Meta(
            description="How long the target may be lost before all on it moves; absent means as each Placement says."
        ),
    ] = None
    allowed_workspaces: Annotated[
        WorkspaceSelector | None,
        Meta(description="Workspaces whose placements may use the cluster, beside RBAC; absent means any."),
    ] = None
    quotas: Annotated[
        tuple[Quota, ...],
        Meta(
            description="Limits of what tenants may reserve; of several that a workspace lies in, all hold.",
            max_length=256,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["workspace"]},
        ),
    ] = ()
    cost: Annotated[Cost | None, Meta(description="Prices, where they are known.")] = None
    namespaces: Annotated[
        NamespaceMode,
        Meta(
            description="Claimed: a namespace keeps its name, and belongs to the first workspace that places into it. "
            "PerWorkspace: each workspace has namespaces of its own, under names with a hash."
        ),
    ] = "Claimed"
    protected_namespaces: Annotated[
        tuple[NamespacePattern, ...],
        Meta(
            description="Namespaces that nothing is placed into, beside kube-* and moorage-system; a trailing * stands"
            " for any end of a name.",
            max_length=256,
        ),
    ] = ()
    namespace_labels: Annotated[
        tuple[LabelPattern, ...],
        Meta(
            description="Labels of a workspace's namespace that the namespace made for it here gets too, beside the"
            " levels of Pod Security that are restricted; a trailing * stands for any end of a key. Other labels of Pod"
            " Security and the like are not meant by *, but only by a pattern that begins as they do.",
            max_length=64,
        ),
    ] = ()
    allowed_kinds: Annotated[
        tuple[PlaceableKind, ...],
        Meta(
            description="Kinds that are placed here only because they are listed: those without namespaces, such as"
            " CustomResourceDefinition, those of RBAC, Endpoints and EndpointSlices; Secret stands for the Secrets that"
            " hold tokens. Some that would reach beyond their kind are placed nowhere.",
            max_length=64,
        ),
    ] = ()
    adoption: Annotated[
        Adoption,
        Meta(
            description="What becomes of an object that was here before. Never: it is left alone, and the placement"
            " fails. IfEqual: it is taken over where nothing in it has to change. TakeOver: the Placement's"
            " conflictPolicy decides. What was taken over is given back, and never deleted."
        ),
    ] = "Never"


class ServedAPI(ApiStruct, frozen=True, kw_only=True):
    """A resource that the cluster serves, in all its versions."""

    resource: Annotated[str, Meta(description="Plural resource name.", max_length=63)]
    kind: Annotated[str, Meta(description="Kind of its objects.", max_length=63)]
    versions: Annotated[tuple[str, ...], Meta(description="Served versions, best first.", max_length=32)]
    group: Annotated[str, Meta(description="API group; empty is the core group.", max_length=253)] = ""
    preferred_version: Annotated[str, Meta(description="Version that the cluster prefers.", max_length=63)] = ""
    verbs: Annotated[tuple[str, ...], Meta(description="Verbs that the cluster serves it with.", max_length=32)] = ()
    namespaced: Annotated[bool, Meta(description="True if its objects live in namespaces.")] = True


class Latency(ApiStruct, frozen=True, kw_only=True):
    """A measured round trip to the cluster."""

    from_: Annotated[str, Meta(description="Where it was measured from.", max_length=256)] = msgspec.field(name="from")
    milliseconds: Annotated[float, Meta(description="Round trip, in milliseconds.", ge=0)]


class TargetScore(ApiStruct, frozen=True, kw_only=True):
    """A score that anyone may give a cluster, for the scorer Custom:<name>."""

    name: Annotated[str, Meta(description="Name of the score.", min_length=1, max_length=63)]
    value: Annotated[float, Meta(description="The score; higher is better.", ge=0, le=100)]
    valid_until: Annotated[Time | None, Meta(description="When it lapses; absent means never.")] = None


class SyncTargetStatus(ApiStruct, frozen=True, kw_only=True):
    """State of the cluster, as discovery observed it."""

    conditions: Annotated[
        Conditions, Meta(description="Ready, Reachable, APIsDiscovered, HeartbeatHealthy and PodsCounted.")
    ] = ()
    capacity: Annotated[Resources, Meta(description="Resources of all nodes that workloads can use, together.")] = (
        msgspec.field(default_factory=dict)
    )
    allocatable: Annotated[Resources, Meta(description="Resources that workloads may request.")] = msgspec.field(
        default_factory=dict
    )
    allocated: Annotated[
        Resources,
        Meta(description="Requests of what Moorage did not place; as reported where pods cannot be counted."),
    ] = msgspec.field(default_factory=dict)
    free: Annotated[
        Resources,
        Meta(
            description="What is allocatable and neither allocated nor reserved for placements, as last counted (every"
            " minute); for people: decisions count anew."
        ),
    ] = msgspec.field(default_factory=dict)
    placements: Annotated[
        NonNegative | None, Meta(description="Placements with a reservation here, counted with free.")
    ] = None
    usage: Annotated[Resources, Meta(description="Observed use, where metrics are served.")] = msgspec.field(
        default_factory=dict
    )
    apis: Annotated[tuple[ServedAPI, ...], Meta(description="Resources that the cluster serves.", max_length=2048)] = ()
    kubernetes_version: Annotated[str, Meta(description="Version of its API server.", max_length=63)] = ""
    cluster_uid: Annotated[
        str,
        Meta(
            description="Which cluster it is: the uid of its namespace kube-system. Of several SyncTargets of one"
            " cluster, only the first is Ready.",
            max_length=128,
        ),
    ] = ""
    nodes: Annotated[int, Meta(description="How many nodes it has.", ge=0)] = 0
    latency: Annotated[
        tuple[Latency, ...], Meta(description="Round trips from where they were measured.", max_length=256)
    ] = ()
    scores: Annotated[
        tuple[TargetScore, ...],
        Meta(
            description="Scores that others keep here, for scorers `Custom:<name>` and for policies.",
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    last_heartbeat_time: Annotated[Time | None, Meta(description="When the cluster last answered.")] = None

    def __post_init__(self) -> None:
        force_setattr(self, "apis", first_equal(self.apis))  # most of what it is made of, and most clusters are alike


class SyncTarget(ApiObject, frozen=True, kw_only=True, tag="SyncTarget"):
    """A cluster that a workspace offers for placements."""

    spec: Annotated[SyncTargetSpec, Meta(description="How the cluster is reached and who may use it.")] = (
        SyncTargetSpec()
    )
    status: Annotated[SyncTargetStatus, Meta(description="Its state, as discovery observed it.")] = SyncTargetStatus()

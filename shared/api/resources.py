"""How each kind is served: its names, its scope and the columns that `kubectl get` prints."""

from typing import Literal

import msgspec

from shared.api.binding import PlacementBinding
from shared.api.cluster_request import ClusterRequest
from shared.api.decision import PlacementDecision
from shared.api.meta import ApiObject
from shared.api.override import PlacementOverride
from shared.api.placement import Placement
from shared.api.policy import PlacementPolicy
from shared.api.policy_exception import PolicyException
from shared.api.quota import PlacementQuota
from shared.api.revision import PlacementRevision
from shared.api.synctarget import REGION_LABEL, SyncTarget
from shared.api.workload_kind import WorkloadKind


class Column(msgspec.Struct, frozen=True):
    """A column that `kubectl get` prints; priority 1 shows with -o wide only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    priority: int = 0


class Resource(msgspec.Struct, frozen=True):
    """How a kind is served. With `status`, that is a subresource of its own; without, it is written with the rest."""

    kind: type[ApiObject]
    plural: str
    short: str
    scope: Literal["Cluster", "Namespaced"]
    columns: tuple[Column, ...]
    status: bool = True


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def _condition(type_: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].status'


RESOURCES = (
    Resource(
        SyncTarget,
        "synctargets",
        "st",
        "Cluster",
        (
            Column("Ready", _condition("Ready")),
            Column("Region", ".metadata.labels." + REGION_LABEL.replace(".", "\\.")),
            Column("Nodes", ".status.nodes", "integer"),
            Column("Cordoned", ".spec.unschedulable"),
            Column("Placements", ".status.placements", "integer"),
            Column("Free CPU", ".status.free.cpu"),
            Column("Free Memory", ".status.free.memory"),
            Column("Version", ".status.kubernetesVersion", priority=1),
            Column("Heartbeat", ".status.lastHeartbeatTime", "date", priority=1),
            _AGE,
        ),
    ),
    Resource(
        Placement,
        "placements",
        "pl",
        "Namespaced",
        (
            Column("Strategy", ".spec.strategy.type"),
            Column("Targets", ".status.counts.selected", "integer"),
            Column("Ready", ".status.counts.ready", "integer"),
            Column("Where", ".status.where"),
            Column("Phase", ".status.phase"),
            Column("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            _AGE,
        ),
    ),
    Resource(
        PlacementPolicy,
        "placementpolicies",
        "plp",
        "Cluster",
        (
            Column("Enforcement", ".spec.enforcement"),
            Column("Priority", ".spec.priority", "integer"),
            Column("Compiled", _condition("Compiled")),
            _AGE,
        ),
    ),
    Resource(
        PolicyException,
        "policyexceptions",
        "plx",
        "Cluster",
        (
            Column("Policy", ".spec.policy"),
            Column("In Force", _condition("InForce")),
            Column("Why", '.status.conditions[?(@.type=="InForce")].reason'),
            Column("Expires", ".spec.expiresAt"),
            Column("Reason", ".spec.reason"),
            _AGE,
        ),
    ),
    Resource(
        PlacementDecision,
        "placementdecisions",
        "pld",
        "Namespaced",
        (
            Column("Strategy", ".status.strategy"),
            Column("Attempt", ".status.attempt", "integer"),
            Column("Rationale", ".status.rationale"),
            Column("Decided", ".status.decidedAt", "date"),
        ),
        status=False,
    ),
    Resource(
        PlacementBinding,
        "placementbindings",
        "plb",
        "Namespaced",
        (
            Column("Placement", ".spec.placementRef.name"),
            Column("Target", ".spec.target.name"),
            Column("Phase", ".status.phase"),
            Column("Replicas", ".spec.replicas", "integer"),
            Column("Workspace", ".spec.target.workspace", priority=1),
            Column("Retries", ".status.retries", "integer", priority=1),
            _AGE,
        ),
    ),
    Resource(
        PlacementRevision,
        "placementrevisions",
        "plr",
        "Namespaced",
        (
            Column("Placement", ".spec.placementRef.name"),
            Column("Revision", ".spec.revision"),
            Column("Attempt", ".spec.attempt", "integer"),
            _AGE,
        ),
        status=False,
    ),
    Resource(
        PlacementOverride,
        "placementoverrides",
        "plo",
        "Cluster",
        (
            Column("Type", ".spec.type"),
            Column("Reason", ".spec.reason"),
            Column("Expires", ".spec.expiresAt"),
            Column("Accepted", _condition("Accepted"), priority=1),
            _AGE,
        ),
    ),
    Resource(
        WorkloadKind,
        "workloadkinds",
        "wk",
        "Cluster",
        (
            Column("Group", ".spec.group"),
            Column("Kind", ".spec.kind"),
            Column("Replicas", ".spec.replicas"),
            _AGE,
        ),
        status=False,
    ),
    Resource(
        ClusterRequest,
        "clusterrequests",
        "clr",
        "Namespaced",
        (
            Column("Missing", ".spec.missing.targets", "integer"),
            Column("CPU", ".spec.missing.resources.cpu"),
            Column("Memory", ".spec.missing.resources.memory"),
            Column("Reason", ".spec.reason"),
            Column("Accepted", _condition("Accepted")),
            Column("Provisioned", _condition("Provisioned")),
            Column("Since", ".spec.since", "date"),
            Column("Message", ".spec.message", priority=1),
        ),
    ),
    Resource(
        PlacementQuota,
        "placementquotas",
        "plq",
        "Cluster",
        (
            Column("Workspace", ".spec.workspace"),
            Column("Namespace", ".spec.namespace"),
            Column("Placements", ".status.used.placements"),
            Column("CPU", ".status.used.cpu"),
            Column("Hard CPU", ".status.hard.cpu"),
            Column("Memory", ".status.used.memory"),
            Column("Hard Memory", ".status.hard.memory"),
            Column("In Force", _condition("InForce")),
            _AGE,
        ),
    ),
)

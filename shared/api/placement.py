"""Placement: what must run, and under which rules."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.api.affinity import Affinity
from shared.api.binding import Health
from shared.api.meta import (
    ApiObject,
    ApiStruct,
    Cardinal,
    Conditions,
    LabelKey,
    Name,
    NonNegative,
    NumberOrPercent,
    ObjectReference,
    Pointer,
    TargetReference,
    Time,
    Validation,
    percent,
)
from shared.api.policy import Rules
from shared.api.rollout import Rollout
from shared.api.selectors import LabelSelector, Toleration, WorkspaceSelector
from shared.api.stability import Stability
from shared.api.workload_selector import WorkloadSelector

MOST_WEIGHT = 1000
Weight = Annotated[float, Meta(ge=-MOST_WEIGHT, le=MOST_WEIGHT)]
ReplicaCount = Annotated[int, Meta(ge=1, le=1_000_000)]

MAX_MANIFESTS = 64
MAX_MANIFEST_BYTES = 256 * 1024

Manifest = Annotated[dict[str, Any], Meta(extra_json_schema={"x-kubernetes-embedded-resource": True})]
"""A whole Kubernetes object."""

PlacementPhase = Literal[
    "Pending",
    "Scheduling",
    "Unschedulable",
    "Scheduled",
    "Applying",
    "Ready",
    "Degraded",
    "Idle",
    "Suspended",
    "Removing",
]


class Count(ApiStruct, frozen=True, kw_only=True):
    """How many targets are wanted, as numbers or as percentages of the targets that fit."""

    validations = (
        Validation(
            "!has(self.max) || type(self.min) != int || type(self.max) != int || self.min <= self.max",
            "min must not be above max",
        ),
        Validation("self.min != 0 || !has(self.max) || self.max == 0", "min 0 goes with no max above 0"),
    )

    min: Annotated[
        NumberOrPercent,
        Meta(
            description="Fewest targets that will do; a percentage is rounded up. 0: none is wanted for now, and what "
            "runs is removed."
        ),
    ] = 1
    max: Annotated[
        NumberOrPercent | None,
        Meta(
            description="Most targets that are taken; absent means as many as min; a percentage is rounded down, "
            "but not below min."
        ),
    ] = None

    def of(self, fitting: int) -> tuple[int, int]:
        """Fewest and most targets where so many fit, with the defaults filled in."""
        least = self.min if isinstance(self.min, int) else max(-(-fitting * percent(self.min) // 100), 1)
        if self.max is None:
            return least, least
        return least, self.max if isinstance(self.max, int) else max(fitting * percent(self.max) // 100, least)


class Targets(ApiStruct, frozen=True, kw_only=True):
    """Which targets come into question, and how many of them."""

    validations = (Validation("!(has(self.all) && self.all && has(self.count))", "all and count exclude each other"),)

    workspaces: Annotated[
        WorkspaceSelector, Meta(description="Workspaces whose targets are looked at; empty means all that offer any.")
    ] = WorkspaceSelector()
    selector: Annotated[LabelSelector | None, Meta(description="Labels that a target must have.")] = None
    names: Annotated[tuple[Name, ...], Meta(description="Targets by name; empty means any.", max_length=256)] = ()
    count: Annotated[Count | None, Meta(description="How many targets; absent means one, unless all is set.")] = None
    all: Annotated[bool, Meta(description="If true, every target that fits is taken.")] = False
    tolerations: Annotated[tuple[Toleration, ...], Meta(description="Taints that are accepted.", max_length=64)] = ()

    def bounds(self, fitting: int) -> tuple[int, int | None]:
        """Fewest and most targets where so many fit, with the defaults filled in; a most of None is all of them."""
        return (1, None) if self.all else (self.count or Count()).of(fitting)

    @property
    def none(self) -> bool:
        """Whether no target is wanted: what is decided is that the placement runs nowhere."""
        return self.count is not None and self.count.min == 0


class SpreadConstraint(ApiStruct, frozen=True, kw_only=True):
    """How evenly the targets are spread over a topology."""

    validations = (
        Validation(
            "!has(self.minDomains) || !has(self.maxDomains) || self.minDomains <= self.maxDomains",
            "minDomains must not be above maxDomains",
        ),
    )

    topology_key: Annotated[LabelKey, Meta(description="Label of targets whose values are the domains.")]
    max_skew: Annotated[int, Meta(description="Most that two domains may differ by.", ge=1, le=10000)] = 1
    min_domains: Annotated[Cardinal | None, Meta(description="Fewest domains that will do.")] = None
    max_domains: Annotated[Cardinal | None, Meta(description="Most domains that are used.")] = None
    when_unsatisfiable: Annotated[
        Literal["DoNotSchedule", "ScheduleAnyway"],
        Meta(description="DoNotSchedule makes the spread a must, ScheduleAnyway a wish."),
    ] = "DoNotSchedule"


class ScorerWeight(ApiStruct, frozen=True, kw_only=True):
    """A scorer that takes part, and how much."""

    name: Annotated[str, Meta(description="Name of the scorer.", min_length=1, max_length=80)]
    weight: Annotated[
        Weight | None,
        Meta(
            description="Its weight; absent means the scorer's default, 0 switches it off, below 0 the least is best."
        ),
    ] = None
    args: Annotated[dict[str, Any], Meta(description="Arguments that the scorer understands.", max_length=32)] = (
        msgspec.field(default_factory=dict)
    )


class Strategy(ApiStruct, frozen=True, kw_only=True):
    """How targets are chosen among those that fit."""

    type: Annotated[
        Literal["BestFit", "Spread", "Binpack"],
        Meta(description="BestFit takes the best, Spread fills domains evenly, Binpack uses the fewest targets."),
    ] = "BestFit"
    scorers: Annotated[
        tuple[ScorerWeight, ...],
        Meta(
            description="Scorers and weights; empty means the defaults of the installation.",
            max_length=32,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    minimum_score: Annotated[float, Meta(description="Least total score that a target needs.", ge=0, le=100)] = 0.0
    combine: Annotated[
        Literal["Weighted", "PolicyFirst", "SchedulerFirst", "Consensus"],
        Meta(description="How the policy score and the scheduler's score become one."),
    ] = "Weighted"


class ReplicaWeight(ApiStruct, frozen=True, kw_only=True):
    """The share of replicas of some targets."""

    validations = (
        Validation("has(self.selector) != has(self.target)", "exactly one of selector and target must be given"),
    )

    selector: Annotated[LabelSelector | None, Meta(description="Targets by label.")] = None
    target: Annotated[TargetReference | None, Meta(description="One target.")] = None
    weight: Annotated[int, Meta(description="Share of each of these targets.", ge=0, le=10000)] = 1


class Replicas(ApiStruct, frozen=True, kw_only=True):
    """How the workload's replicas are divided among the targets."""

    validations = (
        Validation(
            "!has(self.minPerTarget) || !has(self.maxPerTarget) || self.minPerTarget <= self.maxPerTarget",
            "minPerTarget must not be above maxPerTarget",
        ),
        Validation(
            "(has(self.division) && self.division != 'Duplicated') "
            "|| (!has(self.minPerTarget) && !has(self.maxPerTarget))",
            "minPerTarget and maxPerTarget need replicas that are divided",
        ),
    )

    division: Annotated[
        Literal["Duplicated", "Weighted", "Dynamic", "Aggregated"],
        Meta(
            description="Duplicated runs all replicas everywhere, Weighted divides by weights, "
            "Dynamic by free capacity, Aggregated onto the fewest targets."
        ),
    ] = "Duplicated"
    weights: Annotated[
        tuple[ReplicaWeight, ...],
        Meta(description="Weights for Weighted; a target takes the first that matches, else 1.", max_length=64),
    ] = ()
    min_per_target: Annotated[
        ReplicaCount | None, Meta(description="Fewest replicas that a chosen target gets; absent means one.")
    ] = None
    max_per_target: Annotated[
        ReplicaCount | None, Meta(description="Most replicas that a target gets; absent means as many as fit.")
    ] = None

    @property
    def least(self) -> int:
        """Fewest replicas that a chosen target gets where they are divided."""
        return self.min_per_target or 1


class PatchOperation(ApiStruct, frozen=True, kw_only=True):
    """One operation of a JSON Patch (RFC 6902)."""

    # That add, replace and test need a value is left to validate_placement: CEL cannot see a field of any type.
    validations = (
        Validation("self.op in ['move', 'copy'] ? has(self.from) : true", "from must be given for move and copy"),
    )

    op: Annotated[
        Literal["add", "remove", "replace", "move", "copy", "test"], Meta(description="The operation, as in RFC 6902.")
    ]
    path: Annotated[Pointer, Meta(description="JSON Pointer to where it is done.")]
    from_: Annotated[Pointer | None, Meta(description="JSON Pointer to the source of move and copy.")] = msgspec.field(
        default=None, name="from"
    )
    value: Annotated[Any | msgspec.UnsetType, Meta(description="Value of add, replace and test.")] = msgspec.UNSET


class TargetOverride(ApiStruct, frozen=True, kw_only=True):
    """Changes to the manifests on some targets."""

    target_selector: Annotated[LabelSelector | None, Meta(description="Targets by label; absent means all.")] = None
    patches: Annotated[
        tuple[PatchOperation, ...], Meta(description="JSON Patch for each object.", min_length=1, max_length=64)
    ]


class PlacementSpec(ApiStruct, frozen=True, kw_only=True):
    """The workload, where it may run, and how it is looked after."""

    validations = (
        Validation(
            "(has(self.workload) && size(self.workload) > 0) || (has(self.manifests) && size(self.manifests) > 0)",
            "workload or manifests must name something to place",
        ),
    )

    workload: Annotated[
        tuple[WorkloadSelector, ...], Meta(description="Objects of the workspace that are placed.", max_length=64)
    ] = ()
    follow_references: Annotated[
        bool,
        Meta(
            description="If true, ConfigMaps, Secrets, ServiceAccounts, PersistentVolumeClaims and Services that "
            "belong to the workload come along."
        ),
    ] = True
    manifests: Annotated[
        tuple[Manifest, ...],
        Meta(
            description="Objects inline, for hubs that do not serve their kinds; 256 KiB in all.",
            max_length=MAX_MANIFESTS,
        ),
    ] = ()
    targets: Annotated[Targets, Meta(description="Which targets come into question, and how many.")] = Targets()
    affinity: Annotated[
        Affinity,
        Meta(description="Targets and placements to be near to or far from."),
    ] = Affinity()
    spread: Annotated[
        tuple[SpreadConstraint, ...],
        Meta(
            description="How evenly targets are spread.",
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["topologyKey"]},
        ),
    ] = ()
    strategy: Annotated[Strategy, Meta(description="How targets are chosen among those that fit.")] = Strategy()
    policies: Annotated[Rules, Meta(description="Rules of its own, as in a PlacementPolicy.")] = ()
    replicas: Annotated[Replicas, Meta(description="How replicas are divided among the targets.")] = Replicas()
    overrides: Annotated[
        tuple[TargetOverride, ...], Meta(description="Changes to the manifests per target.", max_length=32)
    ] = ()
    stability: Annotated[Stability, Meta(description="How hard it holds on to where it is.")] = Stability()
    rollout: Annotated[
        Rollout | None,
        Meta(description="How a change of what runs goes from target to target; absent: to all at once."),
    ] = None
    deletion_policy: Annotated[
        Literal["Delete", "Orphan"],
        Meta(description="The fate of placed objects when the Placement goes."),
    ] = "Delete"
    conflict_policy: Annotated[
        Literal["Fail", "TakeOver", "Report"],
        Meta(
            description="Fail or TakeOver, where another manager owns a field. Report: nothing is changed in targets,"
            " and the PlacementBindings say what is there otherwise than wanted (status.differences)."
        ),
    ] = "Fail"
    on_immutable_change: Annotated[
        Literal["Fail", "Recreate"],
        Meta(
            description="Fail or Recreate (delete and make anew), where a target does not let a field be changed. What "
            "was made anew in the workspace is made anew in any case, but for claims and what has claim templates."
        ),
    ] = "Fail"
    when_unfulfilled: Annotated[
        Literal["Wait", "Request"],
        Meta(
            description="Where nothing fits: Wait until something does, or also Request what is missing, by a "
            "ClusterRequest of the Placement's name."
        ),
    ] = "Wait"
    suspend: Annotated[bool, Meta(description="If true, nothing is decided or changed for now.")] = False
    priority: Annotated[
        int,
        Meta(
            description="Order among the placements of a workspace that wait; higher goes first. Against others in a "
            "target it counts where the requester has the verb preempt on the SyncTarget; else as 0, if it is more.",
            ge=-1000000,
            le=1000000,
        ),
    ] = 0
    preemption_policy: Annotated[
        Literal["Never", "PreemptLowerPriority"],
        Meta(
            description="Where nothing fits: Never has others leave for it; PreemptLowerPriority has those of lower "
            "priority leave, where the operator switched that on and the requester has the verb preempt on the "
            "SyncTarget."
        ),
    ] = "Never"


class PlacedTarget(ApiStruct, frozen=True, kw_only=True):
    """The Placement in one target."""

    workspace: Annotated[str, Meta(description="Workspace that offers the target.", max_length=256)]
    name: Annotated[str, Meta(description="Name of the target.", max_length=253)]
    replicas: Annotated[NonNegative | None, Meta(description="Replicas there; absent means as the workload says.")] = (
        None
    )
    phase: Annotated[str, Meta(description="Phase of the binding.", max_length=63)] = ""
    health: Annotated[Health, Meta(description="Health of what runs there.")] = "Unknown"
    message: Annotated[str, Meta(description="Why, in one sentence.", max_length=2048)] = ""


class TargetCounts(ApiStruct, frozen=True, kw_only=True):
    """The Placement's targets in numbers."""

    selected: Annotated[int, Meta(description="Targets that were chosen.", ge=0)] = 0
    applied: Annotated[int, Meta(description="Targets that everything is applied in.", ge=0)] = 0
    ready: Annotated[int, Meta(description="Targets that everything is healthy in.", ge=0)] = 0
    degraded: Annotated[int, Meta(description="Targets that something is unhealthy in.", ge=0)] = 0


class PlacementStatus(ApiStruct, frozen=True, kw_only=True):
    """Where the Placement runs, and how well."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was acted on.", ge=0)] = 0
    phase: Annotated[PlacementPhase, Meta(description="Where the Placement is in its life.")] = "Pending"
    phase_since: Annotated[Time | None, Meta(description="When that phase began.")] = None
    conditions: Annotated[
        Conditions,
        Meta(
            description="Discovered, PolicySatisfied, Scheduled, Applied, Healthy and Ready; Held, Parked and Removing "
            "once they were true, WorkloadReadable once it was false, PolicyWarning where a policy warned, "
            "Overridden where an operator's override was in force, Preempted where it had to leave for another one."
        ),
    ] = ()
    targets: Annotated[tuple[PlacedTarget, ...], Meta(description="Targets that it runs in.", max_length=10000)] = ()
    counts: Annotated[TargetCounts, Meta(description="Its targets in numbers.")] = TargetCounts()
    where: Annotated[
        str,
        Meta(
            description="The chosen targets in short, with the replicas in each: east:2,west:1,+3 are five targets.",
            max_length=1024,
        ),
    ] = ""
    decision_ref: Annotated[ObjectReference | None, Meta(description="The PlacementDecision with every number.")] = None
    trace_id: Annotated[str, Meta(description="W3C trace id of the last decision's trace.", max_length=32)] = ""
    last_decision_time: Annotated[Time | None, Meta(description="When it was last decided.")] = None


class Placement(ApiObject, frozen=True, kw_only=True, tag="Placement"):
    """A workload and the rules for where it may run; Moorage finds where."""

    spec: Annotated[PlacementSpec, Meta(description="The placement as it is wanted.")]
    status: Annotated[PlacementStatus, Meta(description="The placement as it is.")] = PlacementStatus()

"""The state of a world's placements, put together from the objects and messages seen so far. No I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, TypeVar

from shared.api import (
    Placement,
    PlacementBinding,
    PlacementDecision,
    PlacementDecisionStatus,
    SyncTarget,
    TargetReference,
    get_condition,
)
from shared.api.placement import PlacedTarget
from shared.broker.tokens import unescape
from shared.hub.slices import parts
from shared.model.refs import PlacementRef, TargetRef
from shared.pipeline.messages import MESSAGES, PIPELINE

K = TypeVar("K")
V = TypeVar("V")

State = Literal["waiting", "refused", "binding", "running"]

STAGES = tuple(kind.stage for kind in MESSAGES if kind.stage not in ("assigned", "observed", "withdrawn"))
"""The stages that each placement passes, in order: not the fan-out per target, nor the way out."""


@dataclass
class DemoPicture:
    """Clusters are named by id, `root:platform/eu-west-1`; times are seconds on one clock of the observer's."""

    placements: dict[PlacementRef, Placement] = field(default_factory=dict)
    decisions: dict[PlacementRef, PlacementDecision] = field(default_factory=dict)
    bindings: dict[PlacementRef, PlacementBinding] = field(default_factory=dict)  # by the binding's own name
    clusters: dict[str, SyncTarget] = field(default_factory=dict)
    stages: dict[str, set[PlacementRef]] = field(default_factory=lambda: {stage: set() for stage in STAGES})
    messages: int = 0
    created: dict[PlacementRef, float] = field(default_factory=dict)
    decided: dict[PlacementRef, float] = field(default_factory=dict)

    def heard(self, subject: str) -> None:
        """A message of the pipeline was published on `subject`."""
        stage, *tokens = subject.removeprefix(f"{PIPELINE}.").split(".")
        self.messages += 1
        if stage in self.stages and len(tokens) >= 3:
            workspace, namespace, name = (unescape(token) for token in tokens[:3])
            self.stages[stage].add(PlacementRef(workspace=workspace, namespace=namespace, name=name))

    def saw_decision(self, ref: PlacementRef, decision: PlacementDecision | None, now: float) -> None:
        """A PlacementDecision is as given (None: gone), first seen at `now`."""
        put(self.decisions, ref, decision)
        if decision is not None and decision.status.decided_at:
            self.decided.setdefault(ref, now)

    def selected(self, ref: PlacementRef) -> tuple[str, ...]:
        """The clusters that were chosen for it, in the order of the decision."""
        decision = self.decisions.get(ref)
        if decision is None:
            return ()

        def find(name: str) -> PlacementDecisionStatus | None:
            further = self.decisions.get(PlacementRef(workspace=ref.workspace, namespace=ref.namespace, name=name))
            return None if further is None else further.status

        slices = parts(ref.name, decision.status, find)
        return tuple(cluster_id(chosen.target) for each in slices for chosen in each.selected)

    def placed(self, ref: PlacementRef) -> dict[str, PlacedTarget]:
        """The phase of each cluster, by the Placement's own status."""
        placement = self.placements.get(ref)
        return {TargetRef.of(one).id: one for one in placement.status.targets} if placement else {}

    def state(self, ref: PlacementRef) -> State:
        """How far it is: running means that its status says that it is healthy in every cluster chosen for it."""
        decision = self.decisions.get(ref)
        if decision is None or not decision.status.decided_at:
            return "waiting"
        selected = self.selected(ref)
        if not selected:
            return "refused"
        placed = self.placed(ref)
        healthy = all(target in placed and placed[target].health == "Healthy" for target in selected)
        return "running" if healthy else "binding"

    def finished(self) -> bool:
        """True if every placement that was created runs, or is refused with its reason on its status."""
        return all(
            (state := self.state(ref)) == "running" or (state == "refused" and bool(self.refusal(ref)))
            for ref in self.created
        )

    def refusal(self, ref: PlacementRef) -> str:
        """The one sentence on the Placement that says why nothing could be decided; empty when something was."""
        placement = self.placements.get(ref)
        condition = get_condition(placement.status.conditions, "Scheduled") if placement else None
        return condition.message if condition is not None and condition.status == "False" else ""

    def on(self, cluster: str) -> list[PlacementRef]:
        """The placements that a cluster was chosen for."""
        return [ref for ref in sorted(self.created) if cluster in self.selected(ref)]

    def ready(self, cluster: str) -> bool:
        """True if a cluster's SyncTarget says that it is ready."""
        target = self.clusters.get(cluster)
        condition = get_condition(target.status.conditions, "Ready") if target else None
        return condition is not None and condition.status == "True"

    def bound_on(self, cluster: str, refs: Iterable[PlacementRef]) -> list[PlacementBinding]:
        """The bindings that these placements have in a cluster, whatever their phase."""
        return [binding for ref in refs for binding in self.bindings_of(ref) if cluster_of(binding) == cluster]

    def bindings_of(self, ref: PlacementRef) -> list[PlacementBinding]:
        """The bindings of one placement."""
        return [
            binding
            for key, binding in self.bindings.items()
            if (key.workspace, key.namespace, binding.spec.placement_ref.name)
            == (ref.workspace, ref.namespace, ref.name)
        ]

    def objects(self, ref: PlacementRef) -> int:
        """How many objects are applied for it, over all clusters chosen for it."""
        selected = self.selected(ref)
        return sum(len(one.status.objects) for one in self.bindings_of(ref) if cluster_of(one) in selected)

    def victim(self, patience: float) -> str:
        """The cluster whose loss moves most placements; empty if none would move one.

        A placement that waits longer than `patience` seconds for a lost cluster does not move in time to be seen:
        clusters with such placements come last.
        """

        def rank(cluster: str) -> tuple[bool, int, str]:
            slow = any(
                (tolerated := self.placements[ref].spec.stability.eviction_toleration_seconds) is not None
                and tolerated > patience
                for ref in self.on(cluster)
            )
            return (slow, -len(self.on(cluster)), cluster)

        return min((cluster for cluster in self.clusters if self.on(cluster)), key=rank, default="")

    def latencies(self) -> list[float]:
        """Seconds from creating each Placement to seeing its PlacementDecision."""
        return [self.decided[ref] - at for ref, at in self.created.items() if ref in self.decided]


@dataclass(frozen=True)
class Loss:
    """A cluster that was lost, what was on it, and how long everything took, in seconds since."""

    cluster: str
    affected: Sequence[PlacementRef]
    noticed: float
    decided: float
    running: float


@dataclass(frozen=True)
class Figures:
    """The summary."""

    placements: int
    refused: int
    bindings: int
    objects: int
    messages: int
    decided_median: float
    decided_most: float
    restarts: int
    seconds: float


def figures(picture: DemoPicture, restarts: int, seconds: float) -> Figures:
    """The figures of a picture."""
    latencies = picture.latencies()
    return Figures(
        placements=len(picture.created),
        refused=sum(picture.state(ref) == "refused" for ref in picture.created),
        bindings=len(picture.bindings),
        objects=sum(picture.objects(ref) for ref in picture.created),
        messages=picture.messages,
        decided_median=median(latencies) if latencies else 0.0,
        decided_most=max(latencies, default=0.0),
        restarts=restarts,
        seconds=seconds,
    )


def cluster_id(reference: TargetReference) -> str:
    """A target's id, `root:platform/eu-west-1`."""
    return TargetRef.of(reference).id


def cluster_of(binding: PlacementBinding) -> str:
    """The id of the target that a binding is for."""
    return cluster_id(binding.spec.target)


def put(table: dict[K, V], key: K, value: V | None) -> None:
    """Keep a value, or forget it when it is None."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value

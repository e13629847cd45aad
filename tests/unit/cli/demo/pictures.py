"""Pictures for the tests of the demo: one placement on one or two clusters, in every state that it can be in."""

from services.cli.demo.picture import DemoPicture
from shared.api import (
    Condition,
    ObjectMeta,
    ObjectReference,
    Placement,
    PlacementBinding,
    PlacementDecision,
    PlacementReference,
    PlacementSpec,
    SyncTarget,
    SyncTargetSpec,
    SyncTargetStatus,
    TargetReference,
)
from shared.api.binding import BoundObject, PlacementBindingSpec, PlacementBindingStatus
from shared.api.decision import HistoryEntry, PlacementDecisionStatus, Rejection, ScoredTarget, ScorePart
from shared.api.placement import PlacedTarget, PlacementStatus, Stability
from shared.model.refs import PlacementRef

PLATFORM = "root:platform"
REF = PlacementRef(workspace="root:shop", namespace="shop", name="web")
NOW = "2026-11-22T09:00:00Z"


def cluster(name: str, *, ready: bool = True, **spec: object) -> SyncTarget:
    condition = Condition(type="Ready", status="True" if ready else "False", last_transition_time=NOW)
    return SyncTarget(
        metadata=ObjectMeta(name=name, labels={"topology.kubernetes.io/region": "eu"}),
        spec=SyncTargetSpec(**spec),
        status=SyncTargetStatus(conditions=(condition,), allocatable={"cpu": "8"}, nodes=2),
    )


def reference(name: str) -> TargetReference:
    return TargetReference(workspace=PLATFORM, name=name)


def scored(name: str, score: float = 80.0) -> ScoredTarget:
    parts = {
        "Resource": ScorePart(raw=score, weight=100, weighted=score / 4),
        "Policy": ScorePart(raw=score, weight=300, weighted=3 * score / 4),
    }
    return ScoredTarget(target=reference(name), score=score, breakdown=parts)


def decision(*selected: str, before: tuple[str, ...] = (), **status: object) -> PlacementDecision:
    history = HistoryEntry(
        when=NOW, why="Created", from_=tuple(map(reference, before)), to=tuple(map(reference, selected))
    )
    return PlacementDecision(
        metadata=ObjectMeta(name=REF.name, namespace=REF.namespace),
        status=PlacementDecisionStatus(
            selected=tuple(map(scored, selected)), decided_at=NOW, history=(history,), **status
        ),
    )


def placement(*, health: dict[str, str] | None = None, refusal: str = "", patience: int | None = None) -> Placement:
    conditions = ()
    if refusal:
        conditions = (Condition(type="Scheduled", status="False", last_transition_time=NOW, message=refusal),)
    targets = tuple(PlacedTarget(workspace=PLATFORM, name=name, health=how) for name, how in (health or {}).items())
    return Placement(
        metadata=ObjectMeta(name=REF.name, namespace=REF.namespace),
        spec=PlacementSpec(stability=Stability(eviction_toleration_seconds=patience)),
        status=PlacementStatus(conditions=conditions, targets=targets),
    )


def binding(target: str, *kinds: str, phase: str = "Applied") -> PlacementBinding:
    objects = tuple(
        BoundObject(ref=ObjectReference(api_version="v1", kind=kind, name=f"{kind.lower()}-{number}"))
        for number, kind in enumerate(kinds)
    )
    return PlacementBinding(
        metadata=ObjectMeta(name=f"web-{target}", namespace=REF.namespace),
        spec=PlacementBindingSpec(placement_ref=PlacementReference(name=REF.name), target=reference(target)),
        status=PlacementBindingStatus(phase=phase, objects=objects),
    )


def key(name: str) -> PlacementRef:
    return PlacementRef(workspace=REF.workspace, namespace=REF.namespace, name=name)


def picture(*clusters: SyncTarget) -> DemoPicture:
    """The placement is created, at 10.0, and the clusters are there."""
    found = DemoPicture(created={REF: 10.0})
    found.clusters.update({f"{PLATFORM}/{one.metadata.name}": one for one in clusters})
    return found


def running(*on: str) -> DemoPicture:
    """The placement is decided, bound and healthy on these clusters, with one more that was rejected."""
    found = picture(*(cluster(name) for name in (*on, "full")))
    rejected = {
        "InsufficientResources": Rejection(count=1, samples=(f"{PLATFORM}/full",)),
        "NotAuthorized": Rejection(count=2),
    }
    why = f"BestFit chose {', '.join(on)}"
    found.saw_decision(REF, decision(*on, rejected=rejected, rationale=why), 10.25)
    found.placements[REF] = placement(health=dict.fromkeys(on, "Healthy"))
    for name in on:
        found.bindings[key(f"web-{name}")] = binding(name, "Deployment", "Service", "Service")
    return found

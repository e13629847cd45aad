"""What is asked for where nothing fits: the ClusterRequest of a Placement, and whether it is wanted any more."""

from collections.abc import Iterable

from shared.api import (
    API_VERSION,
    MOST_APIS,
    MOST_REFUSED,
    MOST_SAID_OF_REFUSAL,
    MOST_SAID_OF_REFUSED,
    ClusterRequest,
    ClusterRequestSpec,
    ClusterRequirements,
    MissingTargets,
    NeededApi,
    ObjectMeta,
    OwnerReference,
    Placement,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementReference,
    RefusedTargets,
)
from shared.hub.names import ATTEMPT_ANNOTATION, PLACEMENT_LABEL, label_value
from shared.kube.quantity import format_quantity
from shared.model.decision import Shortfall
from shared.model.request import Request
from shared.pipeline.messages import Scheduled


def requested_since(scheduled: Scheduled, status: PlacementDecisionStatus, before: str | None) -> str | None:
    """Since when what is missing is asked for, given since when it was `before` this attempt; None where it is not."""
    if scheduled.proposal.missing is None:
        return None
    return before or status.decided_at


def cluster_request(request: Request, missing: Shortfall, status: PlacementDecisionStatus) -> ClusterRequest:
    """The object that asks for what is missing, given the refusal as it is on record."""
    ref, head = request.placement, request.head
    owner = OwnerReference(api_version=API_VERSION, kind="Placement", name=ref.name, uid=head.uid, controller=True)
    return ClusterRequest(
        metadata=ObjectMeta(
            name=ref.name,
            namespace=ref.namespace,
            labels={PLACEMENT_LABEL: label_value(ref.name)},
            annotations={ATTEMPT_ANNOTATION: str(head.attempt)},
            owner_references=(owner,),
        ),
        spec=ClusterRequestSpec(
            placement_ref=PlacementReference(name=ref.name, namespace=ref.namespace, uid=head.uid),
            workspace=ref.workspace,
            since=status.requested_since or "",
            reason=status.refusal,
            message=status.rationale[:MOST_SAID_OF_REFUSAL],
            missing=MissingTargets(
                targets=missing.targets,
                replicas=missing.replicas,
                resources={name: format_quantity(amount) for name, amount in sorted(missing.resources.items())},
            ),
            requirements=_requirements(request),
            rejected=tuple(_most_first(status))[:MOST_REFUSED],
        ),
    )


def _requirements(request: Request) -> ClusterRequirements:
    spec = request.spec
    return ClusterRequirements(
        selector=spec.targets.selector,
        any_of=spec.affinity.required,
        topology_keys=tuple(each.topology_key for each in spec.spread if each.when_unsatisfiable == "DoNotSchedule"),
        names=spec.targets.names,
        workspaces=spec.targets.workspaces,
        apis=tuple(NeededApi(api_version=version, kind=kind) for version, kind in sorted(request.needed))[:MOST_APIS],
    )


def _most_first(status: PlacementDecisionStatus) -> Iterable[RefusedTargets]:
    for reason, found in sorted(status.rejected.items(), key=lambda pair: (-pair[1].count, pair[0])):
        said = found.messages[0].message if found.messages else ""
        yield RefusedTargets(reason=reason, count=found.count, message=said[:MOST_SAID_OF_REFUSED])


def attempt_of(request: ClusterRequest) -> int:
    """The attempt that a ClusterRequest was last written for; 0 where that cannot be told."""
    said = request.metadata.annotations.get(ATTEMPT_ANNOTATION, "")
    return int(said) if said.isdecimal() else 0


def uid_of(metadata: ObjectMeta) -> str:
    """The uid of the Placement that owns the object of this metadata; empty where none does."""
    return next((each.uid for each in metadata.owner_references if each.kind == "Placement"), "")


def still_wanted(metadata: ObjectMeta, placement: Placement | None, decision: PlacementDecision | None) -> bool:
    """Whether what the ClusterRequest of this metadata asks for is still asked for, by what is on record now.

    Not where the Placement is gone, or another one, or does not want it (any more), or is suspended; nor where the
    decision on it says nothing of a request.
    """
    if placement is None or placement.metadata.deletion_timestamp or placement.metadata.uid != uid_of(metadata):
        return False
    if placement.spec.when_unfulfilled != "Request" or placement.spec.suspend:
        return False
    if decision is None or uid_of(decision.metadata) != placement.metadata.uid:
        return False
    return decision.status.requested_since is not None

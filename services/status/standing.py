"""A placement as the display has it in mind: the Placement as last read or written, and what was decided. Pure."""

import msgspec

from shared.api import ObjectMeta, Placement, PlacementDecision, PlacementSpec
from shared.model.refs import TargetRef
from shared.pipeline.messages import Decided


class LastDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, as far as a Placement's status shows it. `selected` has the replicas by target, in order."""

    attempt: int
    generation: int
    decided_at: str | None
    selected: dict[str, int | None]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A Placement, without what its status does not depend on, and what was decided for it (None: nothing ever)."""

    placement: Placement
    decision: LastDecision | None


def shown(placement: Placement) -> Placement:
    """The Placement without what its status does not depend on, to be remembered: its manifests may be large."""
    metadata = placement.metadata
    return msgspec.structs.replace(
        placement,
        metadata=ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            generation=metadata.generation,
            resource_version=metadata.resource_version,
            deletion_timestamp=metadata.deletion_timestamp,
        ),
        spec=PlacementSpec(suspend=placement.spec.suspend),
    )


def unreported(decided: Decided) -> Placement:
    """The Placement that a first decision is of, whose status nobody has written yet."""
    ref, head = decided.placement, decided.head
    metadata = ObjectMeta(
        name=ref.name,
        namespace=ref.namespace,
        uid=head.uid,
        generation=head.generation,
        resource_version=decided.unreported,
    )
    return Placement(metadata=metadata, spec=PlacementSpec())


def written(decision: PlacementDecision) -> LastDecision:
    """What was decided, from the object that says so."""
    status = decision.status
    return LastDecision(
        attempt=status.attempt,
        generation=status.observed_generation,
        decided_at=status.decided_at,
        selected={TargetRef.of(each.target).id: each.replicas for each in status.selected},
    )


def told(decided: Decided, before: LastDecision | None) -> LastDecision:
    """What is decided, from the message that says so. A refusal leaves what was selected before."""
    if decided.refusal is None:
        selected = {each.target: each.replicas for each in decided.selected}
    else:
        selected = before.selected if before is not None else {}
    return LastDecision(
        attempt=decided.head.attempt,
        generation=decided.head.generation,
        decided_at=decided.decided_at,
        selected=selected,
    )

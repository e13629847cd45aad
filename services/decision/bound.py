"""PlacementBindings: what is applied in full, and what has to be reserved for what is there, or may be soon."""

from typing import Any

import msgspec

from shared.api import Placement, PlacementBinding
from shared.hub.names import ATTEMPT_ANNOTATION
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.resources import Resources

APPLIED = frozenset({"Applied", "Ready", "Degraded"})
"""The phases of a PlacementBinding in which its target has all that was decided, and no more of what ran before."""


class InPlace(msgspec.Struct, frozen=True):
    """What a target has: the attempt whose decision is applied there in full, 0 while none is, and what it reserves."""

    attempt: int
    reserved: Resources


def attempt_of(binding: PlacementBinding) -> int:
    """The attempt that a binding was written for; 0 where it does not say."""
    written = binding.metadata.annotations.get(ATTEMPT_ANNOTATION, "")
    return int(written) if written.isdecimal() else 0


def applied(binding: PlacementBinding) -> int:
    """The attempt whose decision is applied in full, 0 while none is."""
    status = binding.status
    done = status.phase in APPLIED and status.observed_generation == binding.metadata.generation
    return attempt_of(binding) if done else 0


def in_place(binding: PlacementBinding) -> InPlace:
    """What the target of a binding has."""
    return InPlace(applied(binding), _standing(binding)[0])


def target_of(binding: PlacementBinding) -> str:
    """The id of the target that a binding is for."""
    return TargetRef.of(binding.spec.target).id


def reserved(binding: PlacementBinding, workspace: str, placement: Placement) -> Reservation:
    """The reservation that a binding needs: what it was written for, and what ran before until that is applied.

    One of 0.1 does not say how much, and holds its place with nothing.
    """
    spec, meta = binding.spec, binding.metadata
    kept, less = _standing(binding)
    return Reservation(
        placement=PlacementRef(workspace=workspace, namespace=meta.namespace, name=spec.placement_ref.name),
        head=Head(uid=spec.placement_ref.uid, generation=0, attempt=attempt_of(binding)),
        resources=kept,
        shrinks_to=less,
        labels=placement.metadata.labels,
        orphan=placement.spec.deletion_policy == "Orphan",
        **standing(placement),
    )


def standing(placement: Placement) -> dict[str, Any]:
    """What a reservation that is made anew says of who may have its placement leave. What a priority above 0 counts for
    is not known before it is decided anew, nor anything of a Placement that is not there."""
    spec = placement.spec
    known = bool(placement.metadata.name) and spec.priority <= 0
    return {
        "priority": spec.priority,
        "rank": spec.priority if known else None,
        "budget": spec.stability.disruption_budget,
    }


def _standing(binding: PlacementBinding) -> tuple[Resources, Resources | None]:
    """What a binding reserves now, and what is left of that once it is applied."""
    kept, less = binding.spec.reserved, binding.spec.shrinks_to
    if less is None or applied(binding):
        return _amounts(kept if less is None else less), None
    return _amounts(kept), _amounts(less)


def _amounts(said: dict[str, Any]) -> Resources:
    """What is read back frees nothing: an amount below zero counts as none."""
    return {name: float(amount) for name, amount in said.items() if amount > 0}

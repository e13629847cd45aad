"""What has to be done now for one placement in one target, by what the hub says. Values in, values out."""

from typing import Literal

import msgspec

from services.binding.lifecycle import attempt_of, deleting
from shared.api import Placement, PlacementBinding, PlacementDecision
from shared.model.refs import TargetRef
from shared.pipeline.messages import Assigned

Operation = Literal["apply", "remove", "drop"]


def judge(
    message: Assigned,
    placement: Placement | None,
    decision: PlacementDecision | None,
    binding: PlacementBinding | None,
) -> Operation:
    """What has to be done now, which may differ from what the message asked for.

    The PlacementDecision counts, not the message: it is written before the messages that follow from it are sent. So
    nothing is applied without one, and nothing that it selects is removed, whoever says so.
    """
    if binding is not None and attempt_of(binding) > message.head.attempt:
        return "drop"
    if placement is None or placement.metadata.deletion_timestamp:
        return "remove"
    ours = placement.metadata.uid == message.head.uid
    ending = message.remove and binding is not None and deleting(binding)
    if placement.spec.suspend and ours and not ending:
        return "drop"  # what runs stays as it is; when that ends there is another round, which says what holds then
    if decision is None:  # nothing is to be taken from a Placement that lives: it is decided (anew) before long
        former = binding is not None and binding.spec.placement_ref.uid != placement.metadata.uid
        return "remove" if message.remove and former and not ours else "drop"
    selected = chosen(decision, message.target) is not None
    if message.remove:
        return "drop" if selected else "remove"
    if not ours or undecided(message, decision):
        return "drop"  # it was deleted and made anew, and the new one has messages of its own; or nobody decided this
    return "apply" if selected else "remove"


def begins(message: Assigned) -> bool:
    """Whether a binding may be made before the decision is read, which says afterwards if that was right.

    Only for a first attempt: a binding that was made for what nobody decided keeps no newer attempt out.
    """
    return message.head.attempt == 1 and not message.remove and bool(message.digest)


def lives(message: Assigned, placement: Placement | None) -> bool:
    """Whether a message's Placement is there, and is not to be left as it is."""
    return (
        placement is not None
        and placement.metadata.uid == message.head.uid
        and not placement.metadata.deletion_timestamp
        and not placement.spec.suspend
    )


def may_not_run_twice(placement: Placement | None) -> bool:
    """Whether what is new starts only when what was is gone."""
    return placement is not None and placement.spec.stability.breaks_first


def is_of_another(decision: PlacementDecision | None, message: Assigned) -> bool:
    """Whether a decision is for another Placement of the same name, which came after."""
    owners = decision.metadata.owner_references if decision is not None else ()
    return bool(owners) and owners[0].uid != message.head.uid


def undecided(message: Assigned, decision: PlacementDecision | None) -> bool:
    """Whether a message asks to apply what was not decided, as far as the hub says."""
    return not message.remove and (decision is None or decision.status.attempt < message.head.attempt)


def chosen(decision: PlacementDecision, target: str) -> int | None:
    """Where in the decision a target is, or None."""
    for number, each in enumerate(decision.status.selected):
        if TargetRef.of(each.target).id == target:
            return number
    return None


class Order(msgspec.Struct, frozen=True):
    """What is to be applied in a target: its share of the replicas, the overrides that hold there, the input's digest.

    Overrides are by their places in the spec; None stands for those that match the target. Without a digest, the input
    is what is found.
    """

    replicas: int | None
    overrides: tuple[int, ...] | None
    digest: str


def order_for(message: Assigned, decision: PlacementDecision | None) -> Order:
    """What is to be applied: as the decision has it, and by the message only where there is none."""
    number = None if decision is None else chosen(decision, message.target)
    if decision is None or number is None:
        return Order(message.replicas, message.overrides if message.digest else None, message.digest)
    found, digest = decision.status.selected[number], decision.status.input_digest
    return Order(found.replicas, found.overrides if digest else None, digest)

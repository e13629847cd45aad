"""What binding is told of a decision: where to apply, from where to remove, and what is reserved there."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from shared.api import ScoredTarget
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.pipeline.messages import Assigned

BLOCK = 32
"""Targets of a placement that one copy of binding sees to: as many as it works on at once."""


def assignments(
    placement: PlacementRef,
    head: Head,
    selected: Sequence[ScoredTarget],
    present: Collection[str],
    alone: Collection[str],
    digest: str = "",
) -> list[Assigned]:
    """What binding is told: apply in all selected targets, remove from the others that it is `present` in.

    What is applied is the input that `digest` stands for.

    Adding comes before removing: a removal waits until all selected targets work, unless the old one is
    taken away `alone`: it is lost anyway, or has to be gone first.
    """
    chosen = [TargetRef.of(each.target).id for each in selected]
    after = tuple(sorted(chosen))
    applies = [
        Assigned(
            placement=placement,
            head=head,
            target=target,
            replicas=each.replicas,
            overrides=each.overrides,
            digest=digest,
        )
        for target, each in zip(chosen, selected, strict=True)
    ]
    removals = [
        Assigned(placement=placement, head=head, target=target, remove=True, after=() if target in alone else after)
        for target in sorted(set(present) - set(chosen))
    ]
    return in_blocks(applies + removals)


def in_blocks(told: Iterable[Assigned]) -> list[Assigned]:
    """The messages to binding of one placement, numbered for the copies that they are dealt out over."""
    return [replace(each, block=number // BLOCK) for number, each in enumerate(told)]


def with_reservations(
    told: Iterable[Assigned], selected: Sequence[ScoredTarget], held: Mapping[str, Reservation]
) -> list[Assigned]:
    """Messages to binding, with what is reserved: as `held` has it, by the target's id, which is more than was decided
    while more may run there.
    """
    decided = {TargetRef.of(each.target).id: each.reserved for each in selected}

    def reserving(message: Assigned) -> Assigned:
        found = held.get(message.target)
        if found is None:
            return replace(message, reserved=decided.get(message.target, {}))
        return replace(message, reserved=found.resources, shrinks_to=found.shrinks_to)

    return [holding(each, held) if each.remove else reserving(each) for each in told]


def holding(message: Assigned, held: Mapping[str, Reservation]) -> Assigned:
    """A removal, with the attempt by which its place is held, by the target's id."""
    found = held.get(message.target)
    return message if found is None else replace(message, held=found.head.attempt)


def overlooked(
    placement: PlacementRef,
    head: Head,
    selected: Sequence[ScoredTarget],
    present: Collection[str],
    digest: str = "",
) -> list[Assigned]:
    """What binding is told on a refusal: nothing, but for selected targets that it was never told of.

    What is selected stays as it is while nothing better can be decided. A worker may have died after it wrote the
    selection and before it told anybody.
    """
    untold = [each for each in selected if TargetRef.of(each.target).id not in present]
    return assignments(placement, head, untold, (), (), digest)


def withdrawal(placement: PlacementRef, head: Head, present: Collection[str], *, orphan: bool) -> list[Assigned]:
    """What binding is told when a Placement goes away."""
    return in_blocks(removal(placement, head, target, orphan=orphan) for target in sorted(present))


def removal(placement: PlacementRef, head: Head, target: str, *, orphan: bool) -> Assigned:
    """What binding is told where something is to be removed, without waiting for another target."""
    return Assigned(placement=placement, head=head, target=target, remove=True, orphan=orphan)


def vanished(target: str, held: Reservation, head: Head) -> Assigned:
    """What binding is told when the workspace of a placement is gone."""
    return Assigned(
        placement=held.placement,
        head=head,
        target=target,
        remove=True,
        orphan=held.orphan,
        vanished=True,
        held=held.head.attempt,
    )

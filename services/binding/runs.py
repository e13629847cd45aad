"""What may run to its end, and did: it is not run again. Pure.

Nor is it in the target that takes over, when its placement moves, where it is placed by itself. Beside what goes on
running it is done again there, with all the rest: what it prepared is in the target that is left.
"""

from collections.abc import Iterable, Mapping

import msgspec

from services.binding.core import Identity, Member, Wanted, identity
from services.binding.lifecycle import is_same
from shared.api import BoundObject, PlacementBinding, PlacementDecision
from shared.hub.kinds import BUILT_IN
from shared.model.refs import TargetRef


def stays_ended(member: Member, recorded: BoundObject | None) -> bool:
    """Whether an object ran to its end, and is wanted as it was then."""
    return recorded is not None and bool(recorded.ended) and is_same(recorded, member.ref)


def is_done(member: Member, recorded: BoundObject | None) -> bool:
    """Whether an object that is gone has ended, or may have: it is wanted to do what it did, whatever its labels, and
    was seen to end, or has a time to live then.
    """
    if recorded is None or not (recorded.ended or recorded.expires):
        return False
    same = bool(recorded.work) and recorded.work == member.work and not is_another(member, recorded)
    return same or is_same(recorded, member.ref)


def is_over(member: Member, recorded: BoundObject | None) -> bool:
    """Whether an object ran to its end, and need not be there any more."""
    return recorded is not None and bool(recorded.ended) and is_done(member, recorded)


def done(member: Member, recorded: BoundObject) -> BoundObject:
    """What is on record of an object that is gone and done, as it is wanted now."""
    ref = member.ref
    return msgspec.structs.replace(
        recorded,
        ended=recorded.ended or "Unseen",
        hash=ref.hash,
        source=ref.source,
        source_generation=ref.source_generation,
        work=member.work,
    )


def is_another(member: Member, recorded: BoundObject) -> bool:
    """Whether the workspace has made an object anew since it was applied."""
    return bool(recorded.source and member.ref.source) and recorded.source != member.ref.source


def unrecorded(wanted: Wanted, recorded: Mapping[Identity, BoundObject]) -> list[Member]:
    """What may have run to its end elsewhere: it is not on record in this target, and nothing beside it runs on."""
    if not all(member.ends for member in wanted.members if member.has_pods):
        return []
    return [member for member in wanted.members if member.ends and identity(member.ref) not in recorded]


def ended_elsewhere(
    members: Iterable[Member], bindings: Iterable[PlacementBinding], uid: str, decision: PlacementDecision
) -> dict[Identity, BoundObject]:
    """What is on record of those members that ended in each target that the placement of this uid is leaving, by what
    is decided.
    """
    selected = {TargetRef.of(each.target).id for each in decision.status.selected}
    left: dict[Identity, list[tuple[str, BoundObject]]] = {}
    for binding in bindings:
        target = TargetRef.of(binding.spec.target).id
        if target not in selected and binding.spec.placement_ref.uid == uid:
            for each in binding.status.objects:
                left.setdefault(identity(each.ref), []).append((target, each))
    return {
        name: _elsewhere(*found[0])
        for member in members
        if (found := left.get(name := identity(member.ref))) and all(is_over(member, each) for _, each in found)
    }


def successors(binding: PlacementBinding | None, decision: PlacementDecision | None) -> tuple[str, ...]:
    """Who has to know what ran to its end in a target before nobody does, also where there is no way to it: those that
    take over. Nobody, where something beside it runs on: then all is done again there.
    """
    objects = binding.status.objects if binding is not None else ()
    runs = (each for each in objects if BUILT_IN.named(each.ref.api_version, each.ref.kind).has_pods)
    if decision is None or not any(each.ended for each in objects) or not all(each.ended for each in runs):
        return ()
    return tuple(sorted(TargetRef.of(each.target).id for each in decision.status.selected))


def _elsewhere(target: str, recorded: BoundObject) -> BoundObject:
    """A record of what is not in this target, and is not to be."""
    return msgspec.structs.replace(
        recorded, uid="", generation=0, owned_fields="", adopted=False, message=f"It ran to its end in {target}."
    )

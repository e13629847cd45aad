"""A workload of which a part cannot be read any more: what still counts of it, and where the placement stays. Pure."""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from shared.api import Count, PlacementSpec, Targets, WorkloadSelector
from shared.hub.kinds import Kinds
from shared.hub.rendering import divides
from shared.kube.resources import group_of
from shared.model.refs import TargetRef
from shared.model.request import WorkloadObject
from shared.model.target import Target

GroupKind = tuple[str, str]

_MOST_NAMED = 256  # targets that a Placement names at most
_TOLD = 3  # selectors that are named in one sentence


class Unread(msgspec.Struct, frozen=True):
    """A selector of which nobody knows (any more) what it selects, and why."""

    selector: WorkloadSelector
    why: str
    unserved: bool = False  # its workspace has no such kind (any more)

    @property
    def kind(self) -> GroupKind:
        return (group_of(self.selector.api_version), self.selector.kind)


def sentence(unread: Sequence[Unread]) -> str:
    """What cannot be read, and why; empty where all can."""
    more = f"; and {len(unread) - _TOLD} more" if len(unread) > _TOLD else ""
    return "; ".join(each.why for each in unread[:_TOLD]) + more


def still_counted(
    spec: PlacementSpec,
    unread: Iterable[Unread],
    remembered: Sequence[WorkloadObject],
    bound: Collection[GroupKind],
    kinds: Kinds,
) -> tuple[WorkloadObject, ...] | None:
    """What counts of the part that cannot be read, as it was decided last; None where nobody can say that.

    `remembered` are objects as they were counted for what holds, `bound` are the kinds of all that is in targets. What
    has no pods counts nothing.
    """
    found: list[WorkloadObject] = []
    for each in unread:
        kind = kinds.named(*_versioned(each.selector))
        if each.kind not in bound or kind.autoscales or kind.unsettles:
            return None
        if not kind.has_pods:
            continue
        known = [one for one in remembered if _is_meant(each, one)]
        if not known or spec.overrides or divides(spec):
            return None
        found += known
    return tuple({each.ref: each for each in found}.values())


def staying(spec: PlacementSpec, on: Sequence[str], known: Iterable[Target]) -> Targets | None:
    """The wish for exactly those targets that it is on, by id; None where that cannot be said by their names, or the
    Placement does not want them any more.
    """
    names = {TargetRef.parse(each).name for each in on}
    alike = sum(each.name in names for each in known)
    wanted = not spec.targets.none and (not spec.targets.names or names <= set(spec.targets.names))
    if not on or not wanted or alike != len(on) or len(names) != len(on) or len(names) > _MOST_NAMED:
        return None
    return msgspec.structs.replace(
        spec.targets, names=tuple(sorted(names)), count=Count(min=len(on), max=len(on)), all=False
    )


def _versioned(selector: WorkloadSelector) -> tuple[str, str]:
    return selector.api_version, selector.kind


def _is_meant(unread: Unread, known: WorkloadObject) -> bool:
    same = (group_of(known.api_version), known.kind) == unread.kind
    return same and unread.selector.name in (None, known.name)

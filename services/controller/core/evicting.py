"""A placement that is asked to leave one of its targets: once, and as far as its budget allows."""

from collections.abc import Collection

from services.controller.core.observation import KnownDecision
from shared.api import Placement
from shared.hub.moving import evicted_from
from shared.hub.names import EVICT_ANNOTATION
from shared.model.request import HeadEntry

_MOST = 512  # characters that are compared, and noted with the head


def asked_to_leave(placement: Placement) -> str:
    """The last request that it leave a target; empty where there is none."""
    return placement.metadata.annotations.get(EVICT_ANNOTATION, "")[:_MOST]


def evicting(placement: Placement, entry: HeadEntry | None, decision: KnownDecision | None) -> str:
    """The selected target that it is asked to leave, and has not been decided anew for yet; empty where there is none.

    Whether it can is for that one round to say: what fits nowhere else stays, and the request is over.
    """
    request = asked_to_leave(placement)
    if not request or entry is None or entry.deleted or decision is None or entry.head.uid != placement.metadata.uid:
        return ""
    if request == entry.evict and decision.attempt >= entry.evict_since:
        return ""
    return evicted_from(request, (choice.target for choice in decision.selected))


def noted_eviction(
    entry: HeadEntry | None,
    placement: Placement | None,
    decision: KnownDecision | None,
    leaving: Collection[str],
    at: int,
) -> tuple[str, int]:
    """The last request to leave a target that is seen to, and since which attempt, for the head of attempt `at`: one
    whose target is among those that are left in it, or that it is not in anyway.
    """
    known = (entry.evict, entry.evict_since) if entry is not None else ("", 0)
    if placement is None:
        return known
    target = evicting(placement, entry, decision)
    if target and target not in leaving:
        return known  # its budget is used up for now
    request = asked_to_leave(placement)
    return known if request == known[0] and not target else (request, at)

"""When a healthy placement looks for better targets: by its spec from time to time, or once since somebody asked."""

import msgspec

from services.controller.core.observation import KnownDecision
from shared.api import Placement, PlacementSpec, Rebalance, duration_seconds
from shared.hub.names import REBALANCE_ANNOTATION
from shared.model.request import HeadEntry

_MOST = 64  # characters that are compared, and noted with the head


def may_improve(
    rebalance: Rebalance, moved_at: float, looked_at: float, world_changed_at: float, pause: float, now: float
) -> bool:
    """True if it is time to look for better targets for a healthy placement.

    It wants to move, its last move is long enough ago, and since it was last looked at, at least `pause` seconds ago,
    something changed.
    """
    if rebalance.type != "WhenBetter" or world_changed_at <= looked_at or now - looked_at < pause:
        return False
    return now - moved_at >= duration_seconds(rebalance.cooldown)


def asked(placement: Placement) -> str:
    """The last request that it look for better targets once; empty where there is none."""
    return placement.metadata.annotations.get(REBALANCE_ANNOTATION, "")[:_MOST]


def looking(spec: PlacementSpec) -> PlacementSpec:
    """The same wish for one round in which it may move, however its own spec has it. What a move has to gain stays."""
    once = msgspec.structs.replace(spec.stability.rebalance, type="WhenBetter", cooldown="0s")
    return msgspec.structs.replace(spec, stability=msgspec.structs.replace(spec.stability, rebalance=once))


def noted(
    entry: HeadEntry | None, placement: Placement | None, decision: KnownDecision | None, attempt: int, *, looks: bool
) -> tuple[str, int]:
    """The last request that is seen to, and since which attempt, for the head of another: one that `looks` sees to it,
    and so does one that chooses among all targets anyway.
    """
    known = (entry.rebalance, entry.rebalance_since) if entry is not None else ("", 0)
    if placement is None or not (looks or decision is None or not decision.selected):
        return known
    request = asked(placement)
    return known if request == known[0] else (request, attempt)

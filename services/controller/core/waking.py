"""When a placement has to be looked at again though nothing that is known of it changed: as time goes by."""

import math
from collections.abc import Iterator

import msgspec

from services.controller.core.in_place import grace_period
from services.controller.core.observation import Observation
from services.controller.core.retrying import patience
from shared.api import Placement, duration_seconds
from shared.model.request import HeadEntry


class Wake(msgspec.Struct, frozen=True):
    """Until `at` (seconds since the epoch) there is nothing to be done for a placement that had nothing to be done.

    Unless what is known of it changes, or the world does and `by_world` says that this may help.
    """

    at: float
    by_world: bool = False


def wake(seen: Observation) -> Wake:
    """When the next step may be another one. Who is on a target that is not well is never left alone, unless a round
    under way is to say where else it will be.
    """
    if _may_leave(seen):
        return Wake(seen.now)
    moments = sorted(_moments(seen))
    worldly = [moment for moment, by_world in moments if by_world]
    return Wake(
        at=min((moment for moment, _ in moments if moment > seen.now), default=math.inf),
        by_world=any(moment <= seen.now for moment in worldly),
    )


def _may_leave(seen: Observation) -> bool:
    """Whether it is on a target that it may have to leave, as far as is decided. What is only left over there goes by
    what the inventory says next."""
    decision, entry = seen.decision, seen.entry
    if decision is None or entry is None or decision.attempt != entry.head.attempt:
        return False
    return any(not seen.targets[choice.target].well for choice in decision.selected)


def _moments(seen: Observation) -> Iterator[tuple[float, bool]]:
    """Each time that the next step is compared with, and whether from then on a change of the world may help."""
    placement, entry = seen.placement, seen.entry
    if entry is None:
        return
    yield entry.requested_at + seen.due_within, False
    if placement is not None:
        yield entry.requested_at + grace_period(seen.settings.in_place_seconds, entry), False
        yield from _improving(seen, placement, entry)
    if seen.waiting is not None:
        yield seen.waiting.next_try, False
        yield seen.waiting.tried_at + patience(seen.waiting), True


def _improving(seen: Observation, placement: Placement, entry: HeadEntry) -> Iterator[tuple[float, bool]]:
    rebalance, moved_at = placement.spec.stability.rebalance, seen.decision.moved_at if seen.decision else 0.0
    if rebalance.type == "WhenBetter":
        looked_at = entry.requested_at + seen.settings.rebalance_seconds
        yield max(looked_at, moved_at + duration_seconds(rebalance.cooldown)), True

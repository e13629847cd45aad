"""Which placements have a reservation in which target."""

from shared.broker.subjects import below
from shared.broker.table import View
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.pipeline.buckets import RESERVATIONS_COMPLETE


class Reserved:
    """The reservations as decision has them."""

    def __init__(self, view: View[Reservation]) -> None:
        self._view = view

    def in_target(self, target: str) -> set[PlacementRef] | None:
        """The placements with a reservation in a target, by its id; None while the bucket is not complete."""
        if RESERVATIONS_COMPLETE not in self._view.entries or self._view.unreadable:
            return None
        prefix = TargetRef.parse(target).key
        return {
            entry.value.placement
            for key, entry in self._view.entries.items()
            if below(prefix, key) and not entry.value.released_at
        }

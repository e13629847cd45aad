"""Which placements have a reservation in which target, and how much is reserved there."""

from services.discovery.room import Occupancy
from shared.broker.table import View
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import add
from shared.pipeline.buckets import RESERVATIONS_COMPLETE


class Reserved:
    """The reservations as decision has them, by target: each look at one asks for its own alone."""

    def __init__(self, view: View[Reservation]) -> None:
        self._view = view
        self._held: dict[str, dict[str, Reservation]] = {}  # by the target's key, then the reservation's
        self._read = False

    async def follow(self) -> None:
        """Keep them current, until cancelled."""
        async for keys in self._view.changes():
            for key in keys:
                self._note(key, self._view.get(key))
            self._read = True

    def _note(self, key: str, found: Reservation | None) -> None:
        target = ".".join(key.split(".")[:2])
        if found is not None and not found.released_at:
            self._held.setdefault(target, {})[key] = found
        elif (known := self._held.get(target)) is not None:
            known.pop(key, None)
            if not known:
                del self._held[target]

    def in_target(self, target: str) -> set[PlacementRef] | None:
        """The placements with a reservation in a target, by its id; None while it is not read, or lacks some."""
        return {each.placement for each in self._of(target)} if self._known else None

    def occupancy(self, target: str) -> Occupancy | None:
        """What is reserved in a target, by its id; None while that is not known. A hold is no placement, and
        what is held of the room of others that have to leave is not taken twice."""
        if not self._known:
            return None
        held = self._of(target)
        placements = {each.placement for each in held if not each.until}
        return Occupancy(len(placements), add(*(each.resources for each in held if not each.victims)))

    @property
    def _known(self) -> bool:
        return self._read and RESERVATIONS_COMPLETE in self._view.entries and not self._view.unreadable

    def _of(self, target: str) -> list[Reservation]:
        return list(self._held.get(TargetRef.parse(target).key, {}).values())

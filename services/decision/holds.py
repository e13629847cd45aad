"""Holds: capacity that is reserved for some seconds for a placement to come, and by whom it is taken over.

A hold is a reservation like any other, under a name that no placement can have, and with a time when it ends. So it
counts wherever reservations count, and survives whoever made it. It is not decided, so it is not rebuilt where the
bucket is lost.
"""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from services.decision.book import Written
from services.decision.charges import Charges
from services.decision.ledger import Ledger
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.target import Target

MOST_SECONDS = 600.0
"""A hold may be asked for that long. Who holds keeps others waiting, and need not place anything."""
MOST_OF_WORKSPACE = 100
"""Holds of one workspace at a time."""

NO_HEAD = Head(uid="", generation=0, attempt=0)


class Holding:
    """Takes room in targets for a hold, until a time: what a placement would take beside what it has there."""

    def __init__(self, ledger: Ledger, hold: PlacementRef, until: float) -> None:
        self._ledger = ledger
        self._hold = hold
        self._until = until

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None:
        """As `Ledger.reserve`."""
        had = self._ledger.own(target, wanted.placement)
        more = {name: max(0.0, amount - had.get(name, 0.0)) for name, amount in wanted.resources.items()}
        held = replace(
            wanted,
            placement=self._hold,
            head=NO_HEAD,
            resources=more,
            labels={},
            until=self._until,
            over_commit=False,  # only what is placed may go beyond the room that there is: holds may be asked for often
        )
        return await self._ledger.reserve(target, held)

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:  # noqa: ARG002 - it goes as a whole
        """Give back what was taken."""
        await self._ledger.end_holds(lambda each: each.placement == self._hold)
        return 0


class TakingOver:
    """Takes room in targets, that of some holds included."""

    def __init__(self, ledger: Ledger, *holds: PlacementRef) -> None:
        self._ledger = ledger
        self._holds = holds

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None:
        """As `Ledger.reserve`."""
        return await self._ledger.reserve(target, wanted, *self._holds)

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:
        """As `Ledger.undo`."""
        return await self._ledger.undo(written, lost=lost)


async def end_holds(ledger: Ledger, charges: Charges, which: Callable[[Reservation], bool]) -> int:
    """Give back what is held in targets, and then what of quotas; how many entries in targets that were."""
    ended = await ledger.end_holds(which)
    await charges.end_holds(which)
    return ended

"""Takes room in targets, and what that takes of quotas over all targets before it. Without quotas, only the former."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.decision.book import TRIES, Crowded, Written
from services.decision.charges import Behind, Charges, QuotaDemand
from services.decision.ledger import Ledger
from services.decision.settling import Reserving
from shared.model.decision import Reservation
from shared.model.quota import WorkspaceQuota
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources
from shared.model.target import Target

CATCH_UP = 5.0
"""Seconds that may pass until quotas are known here that the controller knows."""


class Charging:
    """Takes room in targets by `taking`; all that is `wanted` is charged when the first of it is taken, and what comes
    in place of it later when that is.

    `held` says what counts as held already. Nothing is written where it is on `paper`.
    """

    def __init__(
        self,
        taking: Reserving,
        charges: Charges,
        ledger: Ledger,
        quotas: Sequence[WorkspaceQuota],
        wanted: QuotaDemand,
        *,
        epoch: int,
        held: PlacementRef | None = None,
        paper: bool = False,
    ) -> None:
        self._taking = taking
        self._charges = charges
        self._ledger = ledger
        self._quotas = quotas
        self._wanted = wanted
        self._epoch = epoch
        self._held = held or wanted.placement
        self._paper = paper
        self._covered: set[str] = set()
        self._written: dict[str, Written] = {}

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None:
        """As `Ledger.reserve`. Raises what `Charges.charge` raises, too."""
        prefix = TargetRef.of(target).key
        if self._quotas and prefix not in self._covered:
            await self._charge(self._wanted.targets if not self._covered else {prefix: wanted.resources})
            if prefix not in self._covered:
                await self._charge({prefix: wanted.resources})
        return await self._taking.reserve(target, wanted)

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:
        """As `Ledger.undo`; what was charged is given back after that."""
        revision = await self._taking.undo(written, lost=lost)
        newest = self._ledger.holdings(self._held, self._epoch).newest  # others may have given back what was taken
        await self._charges.take_back(self._written.values(), max(revision, newest), self._epoch)
        self._written.clear()
        self._covered.clear()
        return revision

    async def ensure(self) -> None:
        """Raises `Crowded` unless all that was charged is charged still."""
        await self._charges.ensure(self._written.values())

    async def _charge(self, targets: Mapping[str, Resources]) -> None:
        wanted = msgspec.structs.replace(self._wanted, targets=targets)
        for quota in self._quotas:
            await self._charge_to(quota, wanted)
        self._covered |= targets.keys()

    async def _charge_to(self, quota: WorkspaceQuota, wanted: QuotaDemand) -> None:
        for _ in range(TRIES):
            held = self._ledger.holdings(self._held, self._epoch)
            try:
                if self._paper:
                    return self._charges.ask(quota, wanted, held)
                done = await self._charges.charge(quota, wanted, held)
            except Behind as behind:
                await self._ledger.catch_up(behind.revision)
                continue
            if done is not None and (first := self._written.get(quota.place)) is not None:
                done = msgspec.structs.replace(done, before=first.before)
            if done is not None:
                self._written[quota.place] = done
            return None
        raise Crowded(f"what {wanted.placement} holds keeps changing")

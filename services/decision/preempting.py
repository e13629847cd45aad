"""Nominations: room that is held for a placement while those leave that it is taken from, and who these are.

A nomination is a hold, beside what its victims still reserve: nobody else takes the room, and nothing runs in it before
they are gone. It is the only thing on record of a preemption. Which placements have to leave, the bucket of victims
says to the controllers; it is made of the nominations, and whoever finds it otherwise makes it so.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from itertools import chain

from services.decision import core
from services.decision.book import Crowded, Superseded, Written
from services.decision.charges import Charges, Exceeded, Uncounted
from services.decision.holds import end_holds
from services.decision.ledger import Ledger, key_of
from services.decision.settings import DecisionSettings
from services.decision.settling import Ranks, Reserving, Settled, giving
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.hub.access import Access
from shared.hub.authority import may_preempt
from shared.model.decision import Choice, Preemption, Reservation
from shared.model.preemption import Victim
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import HeadEntry, Request
from shared.model.target import Target
from shared.pipeline.messages import Scheduled

log = logging.getLogger("moorage.decision")


class Leaving:
    """Takes room in targets, that of those included who have to leave, and of some holds."""

    def __init__(self, ledger: Ledger, *holds: PlacementRef) -> None:
        self._ledger = ledger
        self._holds = holds

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None:
        """As `Ledger.reserve`."""
        return await self._ledger.reserve(target, wanted, *wanted.victims, *self._holds)

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:
        """As `Ledger.undo`."""
        return await self._ledger.undo(written, lost=lost)


class Nominations:
    """For whom others have to leave; asks on behalf of requesters who may have that."""

    def __init__(
        self,
        settings: DecisionSettings,
        *,
        ledger: Ledger,
        charges: Charges,
        access: Access,
        inventory: View[Target],
        heads: View[HeadEntry],
        table: Table[Victim],
        victims: View[Victim],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._charges = charges
        self._access = access
        self._inventory = inventory
        self._heads = heads
        self._table = table
        self._victims = victims
        self._clock = clock
        self._told_of_some = False  # what was told a moment ago may not be seen yet

    async def ranks(self, request: Request, targets: Collection[str]) -> Ranks:
        """What the priority of a placement counts for in targets. Nobody is asked where that makes no difference."""
        if not self._settings.preemption or request.spec.priority <= 0:
            return Ranks()
        granted = await may_preempt(self._access, request.requester, targets)
        return Ranks(granted=granted, most=self._settings.preemption_max_priority)

    def of(self, ref: PlacementRef) -> list[PlacementRef]:
        """Under which name room is held for a placement, if any is."""
        name = ref.nomination
        return [name] if self._ledger.held_by(name) or self._charges.held_by(name) else []

    def until(self) -> float:
        """When a nomination that is made now ends, in seconds since the epoch."""
        return self._clock() + self._settings.preemption_seconds

    async def nominate(self, message: Scheduled, taking: Reserving, allowed: Collection[str], epoch: int) -> Settled:
        """Hold for it what others have to leave, in place of what was held for it before; the refusal says whether it
        could. A hold that it names is over once that is written, and stays where this fails.

        Room is taken by `taking`, a `Leaving` within quotas: nobody leaves for what these leave too little for.

        Raises `Superseded`, `Crowded` and `Uncounted`, as `settle` does.
        """
        request, proposal = message.request, message.proposal
        preemption, refusal = proposal.preemption, proposal.refusal
        if preemption is None or request.preempting is None or not self._settings.preemption:
            return Settled(refusal=refusal)
        granted = await may_preempt(self._access, request.requester, preemption.victims)
        denied = {each.target for each in preemption.choices} - set(allowed) | preemption.victims.keys() - granted
        if denied:
            return Settled(refusal=core.unauthorized(message, len(denied)))
        await self._end_older(request)  # what another delivery of this attempt holds is this one's, or stays its own
        reserved: list[Written] = []
        try:
            for choice in preemption.choices:
                wanted = self._wanted_of(request, preemption, choice, epoch)
                done = await taking.reserve(*wanted) if wanted is not None else None
                if done is None:
                    await taking.undo(reserved)
                    return Settled(refusal=core.contended(message))
                reserved.append(done)
        except (Superseded, Crowded, Uncounted):
            await taking.undo(reserved)
            raise
        except Exceeded as error:
            await taking.undo(reserved)
            return Settled(refusal=core.over_quota(error.short))
        said = {"placement": str(request.placement), "attempt": request.head.attempt}
        for target, those in preemption.victims.items():
            log.info(
                "placements have to leave", extra={**said, "target": target, "victims": [str(each) for each in those]}
            )
        return Settled(refusal=refusal, reserved=reserved)

    def _wanted_of(
        self, request: Request, preemption: Preemption, choice: Choice, epoch: int
    ) -> tuple[Target, Reservation] | None:
        """What is to be held in one target; None where that gives nothing, or somebody who would leave need not."""
        there, prefix = giving(choice.target, request, self._inventory), TargetRef.parse(choice.target).key
        victims = preemption.victims.get(choice.target, ())
        if there is None or request.preempting is None:
            return None
        leaving = []
        for each in victims:
            held = self._ledger.holding(prefix, each)
            if held is None:
                continue
            if held.rank is None or held.rank >= request.preempting.rank:
                return None
            if held.budget is not None and len(self._left_by(each) | {prefix}) > held.budget:
                return None
            leaving.append(each)
        had = self._ledger.own(there, request.placement)
        more = {name: max(0.0, some - had.get(name, 0.0)) for name, some in choice.reserve.items()}
        wanted = Reservation(
            placement=request.placement.nomination,
            head=request.head,
            resources=more,
            epoch=epoch,
            until=self.until(),
            victims=tuple(leaving),
        )
        return there, wanted

    def _left_by(self, victim: PlacementRef) -> set[str]:
        """The targets, by prefix, that a placement has to leave for others, as far as is known here."""
        return {
            prefix
            for prefix, nomination in self._ledger.nominations()
            if victim in nomination.victims and self._ledger.holding(prefix, victim) is not None
        }

    async def end(self, ref: PlacementRef) -> None:
        """Hold nothing for a placement any more: it has its place, or does not wait for one."""
        if self.of(ref):
            await end_holds(self._ledger, self._charges, lambda each: each.placement == ref.nomination)

    async def _end_older(self, request: Request) -> None:
        """End what was held for a placement by attempts before this one."""
        name = request.placement.nomination
        if self.of(request.placement):
            await end_holds(
                self._ledger,
                self._charges,
                lambda each: each.placement == name and each.head.older_than(request.head),
            )

    def awaits(self, placement: PlacementRef, target: str) -> bool:
        """Whether somebody waits for a placement to leave a target, as far as is known here."""
        prefix = TargetRef.parse(target).key
        return any(where == prefix and placement in held.victims for where, held in self._ledger.nominations())

    def evicted(self, request: Request) -> frozenset[str]:
        """The targets that a placement has to leave for others whether it fits elsewhere or not, as things are now."""
        if not request.preempted:
            return frozenset()
        victims = ((prefix, each) for prefix, held in self._ledger.nominations() for each in held.victims)
        named = {TargetRef.from_key(prefix).id for prefix, each in victims if each == request.placement}
        return frozenset(named.intersection(request.preempted))

    async def give_up(self) -> None:
        """End what was held for long enough, or for a placement that is gone. Who did not leave in time is not asked
        again before it is decided anew: something keeps it there."""
        now, over = self._clock(), set()
        for prefix, held in self._ledger.nominations():
            if held.until <= now:
                for each in held.victims:
                    if self._ledger.holding(prefix, each) is not None:
                        log.warning(
                            "a placement did not leave in time", extra={"placement": str(each), "target": prefix}
                        )
                        with contextlib.suppress(Crowded):
                            await self._ledger.spare(prefix, each)
            elif self._is_gone(held):
                over.add(held.placement)
        if over:
            await end_holds(self._ledger, self._charges, lambda each: each.placement in over)

    def _is_gone(self, held: Reservation) -> bool:
        known = self._heads.get(held.placement.nominated.key)
        return (
            known is not None
            and (known.deleted or known.head.uid != held.head.uid)
            and (held.head.older_than(known.head))
        )

    async def tell(self) -> None:
        """Have the bucket of victims say who has to leave, as the nominations are. All of it is read, so whoever
        changed no nomination leaves that to the look every second."""
        wanted = self._wanted()
        if not wanted and not self._told_of_some and not self._victims.entries:
            return
        self._told_of_some = bool(wanted)
        known = {each.key: each for each in await self._table.entries()}
        for key in sorted(wanted.keys() | known.keys()):
            victim, entry = wanted.get(key), known.get(key)
            with contextlib.suppress(Conflict):  # another copy was faster
                if victim is not None and (entry is None or entry.value != victim):
                    await self._table.update(key, victim, entry.revision if entry is not None else 0)
                elif victim is None and entry is not None and not await self._stands(entry.value):
                    await self._table.delete(key, entry.revision)

    def _wanted(self) -> dict[str, Victim]:
        found: dict[str, Victim] = {}
        for prefix, held in self._ledger.nominations():
            target = TargetRef.from_key(prefix).id
            for each in held.victims:
                if self._ledger.holding(prefix, each) is None:
                    continue
                key = key_of(target, each)
                by = {held.placement.nominated, *(found[key].by if key in found else ())}
                found[key] = Victim(placement=each, target=target, by=tuple(sorted(by)))
        return found

    async def _stands(self, victim: Victim) -> bool:
        """Whether somebody waits for it to leave after all: another copy may have seen more than this one."""
        prefix = TargetRef.parse(victim.target).key
        if await self._ledger.stored(prefix, victim.placement) is None:
            return False
        held = [await self._ledger.stored(prefix, each.nomination) for each in victim.by]
        return victim.placement in chain.from_iterable(each.victims for each in held if each is not None)

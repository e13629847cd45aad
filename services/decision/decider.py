"""Decides: from a proposal to a written PlacementDecision and the news of it; and back, when a placement goes."""

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from services.decision import assigning, core
from services.decision.book import Crowded, Superseded, Written
from services.decision.charges import Charges, QuotaDemand, Uncounted
from services.decision.charging import CATCH_UP, Charging
from services.decision.completeness import Completeness, Incomplete
from services.decision.holds import NO_HEAD, TakingOver, end_holds
from services.decision.kubernetes import Decisions, lost_race
from services.decision.ledger import Ledger
from services.decision.memory import Record
from services.decision.preempting import Leaving, Nominations
from services.decision.settings import DecisionSettings
from services.decision.settling import Reserving, settle, uphold
from services.decision.unfulfilled import cluster_request, requested_since
from services.decision.vanished import VanishedWorkspaces
from shared.api import PlacementDecisionStatus
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.access import Access
from shared.hub.quotas import Quotas
from shared.hub.retry import LATER, as_retry
from shared.kube.errors import ApiError
from shared.model.decision import Choice, Refusal, Reservation
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry, Request
from shared.model.resources import Resources
from shared.model.target import Target, Workspace
from shared.pipeline.messages import Assigned, Bound, Decided, Message, Scheduled, Withdrawn
from shared.process.audit import refused
from shared.process.tracing import current_trace


class Recorded(msgspec.Struct, frozen=True):
    """What is written for an attempt now, and what of its proposal was taken, or why nothing. Without a status, nothing
    is written: others were faster."""

    status: PlacementDecisionStatus | None = None
    taken: Sequence[Choice] = ()
    refusal: Refusal | None = None


class Decider:
    """The ledger and the PlacementDecisions, with what is followed to keep them in line."""

    def __init__(
        self,
        settings: DecisionSettings,
        *,
        ledger: Ledger,
        charges: Charges,
        quotas: Quotas,
        completeness: Completeness,
        decisions: Decisions,
        nominations: Nominations,
        access: Access,
        inventory: View[Target],
        heads: View[HeadEntry],
        workspaces: View[Workspace],
        vanished: VanishedWorkspaces,
        clock: Callable[[], float],
        tell: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.charges = charges
        self.quotas = quotas
        self.lighter: dict[PlacementRef, Head] = {}
        """Placements of which targets have something back that is charged to quotas still, and by which head; each
        until it is seen to, within a second."""
        self.completeness = completeness
        self.decisions = decisions
        self.nominations = nominations
        self._access = access
        self.inventory = inventory
        self.heads = heads
        self.workspaces = workspaces
        self.vanished = vanished
        self.clock = clock
        self._tell = tell
        self.in_order: set[str] = set()  # workspaces whose decisions have today's shape

    async def decide(self, message: Scheduled) -> list[Decided | Assigned] | None:
        """Settle a proposal, once per attempt; None where a newer attempt has spoken already."""
        ref, head = message.request.placement, message.request.head
        evicted = self.nominations.evicted(message.request)
        try:
            with as_retry():
                since = await self.completeness.since()
                if not await self.quotas.view.reached(message.request.quota_revision, CATCH_UP):
                    raise Retry(LATER, f"quotas are not known up to revision {message.request.quota_revision}")
                known = self.decisions.memory.before(ref, head)
                if known is None and head.attempt > 1:  # before the first attempt nothing was decided
                    known = await self.decisions.read(ref)
                try:
                    outcome = await self._settle(message, known, since, evicted)
                except ApiError as error:
                    if not lost_race(error, ref):
                        raise
                    outcome = await self._settle(message, await self.decisions.read(ref), since, evicted)
                if outcome.status is None:
                    return [core.decided(message, (), outcome.refusal, current_trace())]
                await self.completeness.check(since)
        except Superseded:
            return None
        except (Crowded, Incomplete, Uncounted) as error:
            raise Retry(self.settings.contended_retry_seconds, str(error)) from None
        status, bound = outcome.status, set(message.request.bound)
        if status.requested_since and message.proposal.missing is not None:
            wanted = cluster_request(message.request, message.proposal.missing, status)
            await self.decisions.requests.ask(ref, wanted)
        selected, digest = core.selected_ids(status), status.input_digest
        news = core.decided(message, outcome.taken, outcome.refusal, current_trace(), status)
        if outcome.refusal is not None:
            told = assigning.overlooked(ref, head, status.selected, bound, digest)
            told += self.leftovers(ref, head, selected | bound)
            told += [assigning.removal(ref, head, each, orphan=False) for each in sorted(evicted & bound - selected)]
        else:
            previous = {choice.target for choice in message.request.previous}
            present = bound | previous | self._present(ref, head)
            breaks_first = message.request.spec.stability.breaks_first
            alone = {target for target in present if breaks_first or self._lost(target)}
            told = assigning.assignments(ref, head, status.selected, present, alone, digest)
            told += self.leftovers(ref, head, selected | present)
        told = assigning.with_reservations(told, status.selected, self._held(ref))
        # What is selected was read back from where others may have written it.
        allowed = await self.authorized(message.request, {each.target for each in told if not each.remove})
        return [news, *(each for each in told if each.remove or each.target in allowed)]

    async def _settle(self, message: Scheduled, known: Record | None, since: int, evicted: Collection[str]) -> Recorded:
        """Reserve and write, on top of what is `known` to be decided; what this attempt wrote already is upheld.

        Raises `Superseded`, and ApiError where others wrote meanwhile: then nothing is reserved.
        """
        ref, head = message.request.placement, message.request.head
        before = known.status if known is not None else None
        if before is not None and head.attempt < before.attempt:
            raise Superseded
        if before is not None and head.attempt == before.attempt:  # by a delivery that ended before it told anybody
            if known is not None and not known.whole:
                raise Retry(LATER, "slices of what was decided are missing")
            return await self._uphold(message, before, known, since)
        if known is not None and known.whole and known.uid == head.uid:
            await self._tell_overwritten(ref, known)
        allowed = await self.authorized(message.request, core.proposed(message.proposal))
        ranks = await self.nominations.ranks(message.request, allowed)
        taking = self._taking_over(message, since)
        settled = await settle(message, taking, self.inventory, allowed, since, ranks)
        if message.proposal.preemption is not None:
            holds, until = message.request.held_for, self.nominations.until()
            leaving = Leaving(self.ledger, *holds)
            taking = self.charging(leaving, message, since, holds=holds, held_as=ref.nomination, until=until)
            settled = await self.nominations.nominate(message, taking, allowed, since)
        if settled.refusal is not None and settled.refusal.code == RefusalCode.CONTENDED:
            return Recorded(refusal=settled.refusal)
        await self._ensure_complete(since, taking, settled.reserved)
        status = core.record(message, settled.taken, settled.refusal, before, self.clock(), evicted)
        requested = before.requested_since if before is not None else None
        same = known is not None and known.uid == head.uid
        status = msgspec.structs.replace(
            status, requested_since=requested_since(message, status, requested if same else None)
        )
        if requested and not status.requested_since:  # before nobody knows of it any more
            await self.decisions.requests.withdraw(ref, head.attempt)
        try:
            await self.decisions.write(ref, head.uid, status, known)
        except ApiError as error:
            if lost_race(error, ref):
                await taking.undo(settled.reserved)
            raise
        waited = bool(self.nominations.of(ref))
        await self._end_holds(message.request, settled.refusal)
        if waited or message.proposal.preemption is not None:
            await self.nominations.tell()
        return Recorded(status, settled.taken, settled.refusal)

    async def _end_holds(self, request: Request, refusal: Refusal | None) -> None:
        """End what is held for a placement that has its place; where a nomination took the room of its hold, that hold;
        where it waits for nobody, its nomination."""
        over, nomination = request.held_for, request.placement.nomination
        if refusal is not None and refusal.code != RefusalCode.PREEMPTING:
            over = (nomination,)
        elif refusal is not None:
            over = tuple(each for each in over if each != nomination) if self.nominations.of(request.placement) else ()
        if any(self.ledger.held_by(each) or self.charges.held_by(each) for each in over):
            await end_holds(self.ledger, self.charges, lambda each: each.placement in over)

    async def _uphold(
        self, message: Scheduled, status: PlacementDecisionStatus, known: Record | None, since: int
    ) -> Recorded:
        """What this attempt decided, as far as it has its place. Raises as `_settle`."""
        taken, refusal = core.redelivered(message, status)
        ranks = await self.nominations.ranks(message.request, {each.target for each in taken})
        taking = self._taking_over(message, since)
        kept = await uphold(message.request, taken, self.ledger, taking, self.inventory, since, ranks)
        if len(kept) < len(taken):
            status = core.without_lost(status, kept)
            taken, refusal = core.redelivered(message, status)
            if refusal is not None:
                status = msgspec.structs.replace(status, refusal=refusal.code)
            await self.decisions.write(message.request.placement, message.request.head.uid, status, known)
        if refusal is not None and refusal.code == RefusalCode.CONTENDED:
            return Recorded(refusal=refusal)
        await self._end_holds(message.request, refusal)  # whoever wrote it may have died before they did
        return Recorded(status, taken, refusal)

    async def _tell_overwritten(self, ref: PlacementRef, known: Record) -> None:
        """Tell what is on record before it is overwritten: whoever wrote it may have died before they did."""
        found = core.overwritten(ref, known.uid, known.status)
        if found is not None:
            await self._tell(found)

    async def authorized(self, request: Request, targets: Collection[str]) -> set[str]:
        """Those of the targets that the requester may use. Raises Retry where nobody can say."""
        permissions = await self._access.may_use(request.requester, targets)
        if "Unknown" in permissions.values():
            raise Retry(LATER, "nobody can say what the requester may use")
        for target in sorted(target for target, permission in permissions.items() if permission != "Allowed"):
            who = request.requester.username if request.requester else ""
            refused("NotAuthorized", requester=who, placement=str(request.placement), target=target, stage="decision")
        return {target for target, permission in permissions.items() if permission == "Allowed"}

    async def withdraw(self, message: Withdrawn) -> list[Assigned]:
        """Forget the decision, and have everything removed; what is removed is given back.

        The hub says whether it goes, and not the message. Where another Placement of this name lives by now, what was
        decided for that one stays; what the former left is taken away by the rounds of the new one.
        """
        ref, head = message.placement, message.head
        with as_retry():
            living = await self.decisions.living(ref)
            if living == head.uid:
                return []  # whoever thought that it was gone did not see well
            known = await self.decisions.read(ref) if living else None
            if living and (known is None or known.uid == living):
                refused("NotDecided", placement=str(ref), uid=head.uid, stage="withdrawn")
                return []
            present = {*message.targets, *self._present(ref, head), *core.selected_ids(known.status if known else None)}
            await self.decisions.forget(ref, known)
            await self.nominations.end(ref)
        told = assigning.withdrawal(ref, head, present, orphan=message.orphan) + self.leftovers(ref, head, present)
        held = self._held(ref)
        return [assigning.holding(each, held) for each in told]

    async def _ensure_complete(self, since: int, taking: Charging, reserved: Sequence[Written]) -> None:
        """Before anything is written: what was reserved beside too little of what others hold is undone."""
        try:
            await taking.ensure()
            await self.completeness.check(since)
        except (Crowded, Incomplete) as error:
            await taking.undo(reserved, lost=isinstance(error, Incomplete))
            raise

    def _taking_over(self, message: Scheduled, epoch: int) -> Charging:
        """Takes room, that which is held for the placement included."""
        holds = message.request.held_for
        return self.charging(TakingOver(self.ledger, *holds), message, epoch, holds=holds)

    def charging(
        self,
        taking: Reserving,
        message: Scheduled,
        epoch: int,
        *,
        holds: tuple[PlacementRef, ...] = (),
        held_as: PlacementRef | None = None,
        until: float = 0.0,
        paper: bool = False,
    ) -> Charging:
        """Takes room by `taking`, within the quotas that bound a placement; in place of what `holds` have of them.

        What is only to be held is charged to the hold's own name, `held_as`, until it ends.
        """
        request, proposal = message.request, message.proposal
        choices = proposal.selected if proposal.preemption is None else proposal.preemption.choices
        wanted = QuotaDemand(
            placement=held_as or request.placement,
            head=request.head if held_as is None or held_as.is_nomination else NO_HEAD,
            targets={TargetRef.parse(each.target).key: each.reserve for each in choices},
            until=until,
            holds=holds,
        )
        quotas = self.quotas.of(request.placement)
        return Charging(
            taking, self.charges, self.ledger, quotas, wanted, epoch=epoch, held=request.placement, paper=paper
        )

    async def give_back(self, message: Bound) -> None:
        """Release what is needed no more: where less was applied than before, and where something was removed.

        Not where it was removed and is selected again.
        """
        prefix = TargetRef.parse(message.target).key
        if message.applied and self.ledger.shrinks(prefix, message.placement):
            decided = await self._decided(message.placement, message.target)
            done = await self.ledger.shrink(prefix, message.placement, message.applied, decided)
            self._note_lighter(message, done)
        if message.phase != "Removed" or prefix not in self.ledger.held_by(message.placement):
            return
        known: Record | None = None
        if not message.vanished:
            with as_retry():
                known = await self.decisions.read(message.placement)
        if known is not None and not known.whole:
            raise Retry(LATER, "slices of what was decided are missing")
        if message.target not in core.selected_ids(known.status if known else None):
            self._note_lighter(message, await self.ledger.release(prefix, message.placement, message.head))
            if self.nominations.awaits(message.placement, message.target):
                await self.nominations.tell()

    async def _decided(self, placement: PlacementRef, target: str) -> Resources:
        """What is decided that a placement has in a target."""
        with as_retry():
            known = await self.decisions.read(placement)
        if known is not None and not known.whole:
            raise Retry(LATER, "slices of what was decided are missing")
        selected = known.status.selected if known is not None else ()
        return next((each.reserved for each in selected if TargetRef.of(each.target).id == target), {})

    def _note_lighter(self, message: Bound, written: Written | None) -> None:
        if written is not None and self.quotas.of(message.placement):
            self.lighter[message.placement] = message.head

    def _present(self, ref: PlacementRef, head: Head) -> set[str]:
        """The targets in which a placement holds something, under no newer head; not what another of its name left."""
        return {
            target
            for target, each in self._held(ref).items()
            if each.head.uid == head.uid and not head.older_than(each.head)
        }

    def leftovers(self, ref: PlacementRef, head: Head, targets: Collection[str]) -> list[Assigned]:
        """Removals of what a placement holds elsewhere, under no newer head.

        It is given back when its target says that nothing is there, and not because no record on the hub says that
        something is: records can be taken away by hand, and may be of a backup.
        """
        return [
            assigning.removal(ref, head, target, orphan=each.orphan)
            for target, each in sorted(self._held(ref).items())
            if target not in targets and not head.older_than(each.head)
        ]

    def _held(self, ref: PlacementRef) -> dict[str, Reservation]:
        """What a placement holds, by the id of the target."""
        return {TargetRef.from_key(prefix).id: each for prefix, each in self.ledger.held(ref).items()}

    def newest(self, reservation: Reservation) -> Head:
        """The newest head of the placement that holds a reservation."""
        known = self.heads.get(reservation.placement.key)
        return known.head if known is not None and reservation.head.older_than(known.head) else reservation.head

    def _lost(self, target: str) -> bool:
        """Whether a target cannot be reached for now."""
        found = self.inventory.get(TargetRef.parse(target).key)
        return found is None or not found.ready

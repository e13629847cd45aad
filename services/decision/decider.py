"""Decides: from a proposal to a written PlacementDecision and the news of it; and back, when a placement goes."""

from collections.abc import Callable, Collection, Sequence

from services.decision import core
from services.decision.completeness import Completeness, Incomplete
from services.decision.kubernetes import Decisions, owner_of
from services.decision.ledger import Crowded, Ledger, Superseded, Written
from services.decision.settings import DecisionSettings
from services.decision.settling import settle, uphold
from services.decision.vanished import VanishedWorkspaces
from shared.api import PlacementDecisionStatus
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.access import Access
from shared.hub.retry import LATER, as_retry
from shared.model.decision import Reservation
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry, Request
from shared.model.target import Target, Workspace
from shared.pipeline.messages import Assigned, Bound, Decided, Scheduled, Withdrawn
from shared.process.audit import refused
from shared.process.tracing import current_trace


class Decider:
    """The ledger and the PlacementDecisions, with what is followed to keep them in line."""

    def __init__(
        self,
        settings: DecisionSettings,
        *,
        ledger: Ledger,
        completeness: Completeness,
        decisions: Decisions,
        access: Access,
        inventory: View[Target],
        heads: View[HeadEntry],
        workspaces: View[Workspace],
        vanished: VanishedWorkspaces,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.completeness = completeness
        self.decisions = decisions
        self._access = access
        self.inventory = inventory
        self.heads = heads
        self.workspaces = workspaces
        self.vanished = vanished
        self.clock = clock

    async def decide(self, message: Scheduled) -> list[Decided | Assigned] | None:
        """Settle a proposal, once per attempt; None where a newer attempt has spoken already."""
        ref, head = message.request.placement, message.request.head
        try:
            with as_retry():
                since = await self.completeness.since()
                status, found = await self.decisions.read(ref)
                if status is not None and head.attempt < status.attempt:
                    return None
                if status is None or head.attempt > status.attempt:
                    allowed = await self._authorized(message.request, core.proposed(message.proposal))
                    settled = await settle(message, self.ledger, self.inventory, allowed)
                    taken, refusal = settled.taken, settled.refusal
                    if refusal is not None and refusal.code == RefusalCode.CONTENDED:
                        return [core.decided(message, (), refusal, current_trace())]
                    await self._ensure_complete(since, settled.reserved)
                    status = core.record(message, taken, refusal, status, self.clock())
                    await self.decisions.write(ref, head, status, found)
                else:  # written before, by a delivery that ended before it told anybody
                    taken, refusal = core.redelivered(message, status)
                    await uphold(message.request, taken, self.ledger)
                await self.completeness.check(since)
                present = await self.decisions.bound(ref)
        except Superseded:
            return None
        except (Crowded, Incomplete) as error:
            raise Retry(self.settings.contended_retry_seconds, str(error)) from None
        news = core.decided(message, taken, refusal, current_trace(), status.decided_at or "")
        if refusal is not None:
            told = core.overlooked(ref, head, status.selected, present, status.input_digest)
        else:
            lost = {target for target in present if self._lost(target)}
            told = core.assignments(ref, head, status.selected, present, lost, status.input_digest)
        told += self.leftovers(ref, head, core.selected_ids(status) | present)
        told = core.with_reservations(told, status.selected, self._held(ref))
        # What is selected was read back from where others may have written it.
        allowed = await self._authorized(message.request, {each.target for each in told if not each.remove})
        return [news, *(each for each in told if each.remove or each.target in allowed)]

    async def _authorized(self, request: Request, targets: Collection[str]) -> set[str]:
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
            status, found = await self.decisions.read(ref)
            if living and (found is None or owner_of(found) == living):
                refused("NotDecided", placement=str(ref), uid=head.uid, stage="withdrawn")
                return []
            present = await self.decisions.bound(ref) | core.selected_ids(status)
            await self.decisions.forget(ref)
        told = core.withdrawal(ref, head, present, orphan=message.orphan)
        return told + self.leftovers(ref, head, present)

    async def _ensure_complete(self, since: int, reserved: Sequence[Written]) -> None:
        """Before anything is written: what was reserved beside too little of what others hold is undone."""
        try:
            await self.completeness.check(since)
        except Incomplete:
            await self.ledger.undo(reserved)
            raise

    async def give_back(self, message: Bound) -> None:
        """Release what is needed no more: where less was applied than before, and where something was removed.

        Not where it was removed and is selected again.
        """
        prefix = TargetRef.parse(message.target).key
        if message.applied:
            await self.ledger.shrink(prefix, message.placement, message.applied)
        if message.phase != "Removed" or prefix not in self.ledger.held_by(message.placement):
            return
        status: PlacementDecisionStatus | None = None
        if not message.vanished:
            with as_retry():
                status, _ = await self.decisions.read(message.placement)
        if message.target not in core.selected_ids(status):
            await self.ledger.release(prefix, message.placement, message.head)

    def leftovers(self, ref: PlacementRef, head: Head, targets: Collection[str]) -> list[Assigned]:
        """Removals of what a placement holds elsewhere, under no newer head.

        It is given back when its target says that nothing is there, and not because no record on the hub says that
        something is: records can be taken away by hand, and may be of a backup.
        """
        return [
            core.removal(ref, head, target, orphan=each.orphan)
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

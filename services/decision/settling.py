"""Proposals against the ledger: what of a proposal can be had."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from services.decision import core
from services.decision.book import Crowded, Superseded, Written
from services.decision.charges import Exceeded, Uncounted
from services.decision.ledger import Ledger
from shared.broker.table import View
from shared.model.decision import Choice, Refusal, Reservation
from shared.model.refs import TargetRef
from shared.model.request import Request
from shared.model.target import Target
from shared.pipeline.messages import Scheduled


class Reserving(Protocol):
    """Where room is taken in targets; see `Ledger`."""

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None: ...
    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int: ...


class Settled(msgspec.Struct, frozen=True):
    """The choices that could be had of a proposal, or why none; `reserved` is what the ledger wrote for that."""

    taken: Sequence[Choice] = ()
    refusal: Refusal | None = None
    reserved: Sequence[Written] = ()


class Ranks(msgspec.Struct, frozen=True):
    """What the priority of a placement counts for against others: what it says where its requester may preempt, `most`
    at the most; else nothing. Where nobody was asked (`granted` is None), one above 0 is not known."""

    granted: Collection[str] | None = None
    most: int = 0

    def of(self, priority: int, target: str) -> int | None:
        """The rank of a priority in a target, None where it is not known."""
        if priority <= 0:
            return priority
        if self.granted is None:
            return None
        return min(priority, self.most) if target in self.granted else 0


_NOT_ASKED = Ranks()


async def settle(
    message: Scheduled,
    ledger: Reserving,
    inventory: View[Target],
    allowed: Collection[str],
    epoch: int,
    ranks: Ranks = _NOT_ASKED,
) -> Settled:
    """Reserve what was proposed, and alternates in place of what filled up; a refusal leaves nothing new reserved.

    `allowed` are the targets of the proposal that the requester may use now, which discovery asked a while ago.
    `epoch` is the revision of the marker that reservations are complete. `ranks` say who may have it leave later.

    Raises `Superseded`, `Crowded` and `Uncounted`, see `Charging.reserve`; nothing new is reserved then, either.
    """
    request, proposal = message.request, message.proposal
    if proposal.refusal is not None:
        return Settled(refusal=proposal.refusal)
    least_score = request.spec.strategy.minimum_score
    permitted = [choice for choice in proposal.selected if choice.target in allowed]
    if len(permitted) < len(proposal.selected):
        return Settled(refusal=core.unauthorized(message, len(proposal.selected) - len(permitted)))
    proposed = core.eligible(permitted, least_score)
    if not core.enough(proposed, proposal, request.spec):
        return Settled(refusal=core.below_minimum(message))
    alternates = core.eligible(proposal.alternates, least_score) if core.substitutable(request.spec, permitted) else []
    taken: list[Choice] = []
    reserved: list[Written] = []
    try:
        for choice in (*proposed, *(each for each in alternates if each.target in allowed)):
            if len(taken) == len(proposal.selected):
                break
            target = giving(choice.target, request, inventory)
            if target and (done := await ledger.reserve(target, _wanted(request, choice, epoch, ranks))):
                taken.append(choice)
                reserved.append(done)
    except (Superseded, Crowded, Uncounted):
        await ledger.undo(reserved)
        raise
    except Exceeded as error:
        await ledger.undo(reserved)
        return Settled(refusal=core.over_quota(error.short))
    if core.enough(taken, proposal, request.spec):
        return Settled(taken, None, reserved)
    await ledger.undo(reserved)
    return Settled(refusal=core.contended(message))


async def uphold(
    request: Request,
    decided: Sequence[Choice],
    ledger: Ledger,
    taking: Reserving,
    inventory: View[Target],
    epoch: int,
    ranks: Ranks = _NOT_ASKED,
) -> list[Choice]:
    """What of a decision that is written has its place, or can have it again by `taking`.

    Its reservations may have been lost before it was written. They were not rebuilt then, others may have taken the
    room, and nobody was told of the decision. Raises as `settle`.
    """
    kept = []
    for choice in decided:
        wanted = _wanted(request, choice, epoch, ranks)
        held = await ledger.holds(TargetRef.parse(choice.target).key, wanted)
        target = None if held else giving(choice.target, request, inventory)
        try:
            if held or (target and await taking.reserve(target, wanted)):
                kept.append(choice)
        except Exceeded:
            continue
    return kept


def giving(target: str, request: Request, inventory: View[Target]) -> Target | None:
    """A target that may be given something now, or one that is waited for and may keep what it has."""
    found = inventory.get(TargetRef.parse(target).key)
    return found if found is not None and (found.ready or core.may_stay(target, request)) else None


def _wanted(request: Request, choice: Choice, epoch: int, ranks: Ranks) -> Reservation:
    return Reservation(
        placement=request.placement,
        head=request.head,
        resources=choice.reserve,
        labels=request.labels,
        orphan=request.spec.deletion_policy == "Orphan",
        epoch=epoch,
        over_commit=choice.over_commit,
        priority=request.spec.priority,
        rank=None if choice.forced else ranks.of(request.spec.priority, choice.target),
        budget=request.spec.stability.disruption_budget,
    )

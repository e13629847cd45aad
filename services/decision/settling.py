"""Proposals against the ledger: what of a proposal can be had, and what is given back once that is written."""

from collections.abc import Collection, Sequence

from services.decision import core
from services.decision.ledger import Ledger
from shared.broker.table import View
from shared.model.decision import Choice, Refusal
from shared.model.refs import TargetRef
from shared.model.request import Request
from shared.model.resources import Resources
from shared.model.target import Target
from shared.pipeline.messages import Scheduled


async def settle(
    message: Scheduled, ledger: Ledger, inventory: View[Target], allowed: Collection[str]
) -> tuple[list[Choice], Refusal | None]:
    """Reserve what was proposed, and alternates in place of what filled up; a refusal leaves nothing new reserved.

    `allowed` are the targets of the proposal that the requester may use now, which discovery asked a while ago.

    Raises `Superseded` and `Crowded`, see `Ledger.reserve`.
    """
    request, proposal = message.request, message.proposal
    if proposal.refusal is not None:
        return [], proposal.refusal
    least_score = request.spec.strategy.minimum_score
    permitted = [choice for choice in proposal.selected if choice.target in allowed]
    if len(permitted) < len(proposal.selected):
        return [], core.unauthorized(message, len(proposal.selected) - len(permitted))
    proposed = core.eligible(permitted, least_score)
    if not core.enough(proposed, proposal, request.spec):
        return [], core.below_minimum(message)
    before = ledger.held(request.placement)
    alternates = core.eligible(proposal.alternates, least_score) if core.substitutable(request.spec) else []
    taken: list[Choice] = []
    for choice in (*proposed, *(each for each in alternates if each.target in allowed)):
        if len(taken) == len(proposal.selected):
            break
        target = _giving(choice.target, request, inventory)
        held = before.get(TargetRef.parse(choice.target).key)
        needed = core.at_least(choice.reserve, held.resources if held else {})
        if target and await _reserve(ledger, target, request, needed):
            taken.append(choice)
    if core.enough(taken, proposal, request.spec):
        return taken, None
    await ledger.restore(before, request.placement, request.head)
    return [], core.contended(message)


async def shrink(request: Request, taken: Sequence[Choice], ledger: Ledger, inventory: View[Target]) -> None:
    """Once a decision is written, give back what it takes less than before."""
    for choice in taken:
        target = _giving(choice.target, request, inventory)
        if target is not None:
            await _reserve(ledger, target, request, choice.reserve)


def _giving(target: str, request: Request, inventory: View[Target]) -> Target | None:
    """A target that may be given something now, or one that is waited for and may keep what it has."""
    found = inventory.get(TargetRef.parse(target).key)
    return found if found is not None and (found.ready or core.may_stay(target, request)) else None


async def _reserve(ledger: Ledger, target: Target, request: Request, needed: Resources) -> bool:
    """Take capacity for whom a request is about; see `Ledger.reserve`."""
    orphan = request.spec.deletion_policy == "Orphan"
    return await ledger.reserve(target, request.placement, request.head, needed, request.labels, orphan=orphan)

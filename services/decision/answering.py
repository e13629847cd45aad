"""Answers to questions: what would be decided, by the steps that decide. Nothing of it is written, but for a hold."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from services.decision import core, holds
from services.decision.book import Crowded, Written
from services.decision.charges import Uncounted
from services.decision.completeness import Incomplete
from services.decision.decider import Decider
from services.decision.ledger import Ledger
from services.decision.settling import Settled, settle
from shared.broker.bus import Retry
from shared.kube.times import rfc3339
from shared.model.answer import CapacityHold, DecisionAnswer
from shared.model.decision import Proposal, Reservation
from shared.model.refs import TargetRef
from shared.model.request import Question
from shared.model.target import Target
from shared.pipeline.messages import Scheduled


class OnPaper:
    """Reservations on paper: what the ledger has room for now, and nobody takes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def reserve(self, target: Target, wanted: Reservation) -> Written | None:
        """As `Ledger.reserve`, without writing."""
        if not self._ledger.has_room(target, wanted):
            return None
        return Written(TargetRef.of(target).key, wanted.placement, 0, None)

    async def undo(self, written: Iterable[Written], *, lost: bool = False) -> int:  # noqa: ARG002 - none is written
        """There is nothing to be undone."""
        return 0


async def answer(message: Scheduled, decider: Decider) -> DecisionAnswer:
    """What would be decided. Raises Retry where that cannot be told now."""
    try:
        since = await decider.completeness.since()
    except Incomplete as error:
        raise Retry(decider.settings.contended_retry_seconds, str(error)) from None
    request, now = message.request, decider.clock()
    allowed = await decider.authorized(request, core.proposed(message.proposal))
    if request.question is None or not request.question.reserve:
        taking = decider.charging(OnPaper(decider.ledger), message, since, paper=True)
        try:
            settled, hold = await settle(message, taking, decider.inventory, allowed, since), None
        except Uncounted as error:
            raise Retry(decider.settings.contended_retry_seconds, str(error)) from None
    else:
        settled, hold = await _hold(message, request.question, decider, allowed, since)
    shown = replace(message, proposal=_only(message.proposal, allowed))
    return DecisionAnswer(
        placement=request.placement,
        decision=core.record(shown, settled.taken, settled.refusal, None, now),
        refusal=settled.refusal,
        considered=core.considered(message),
        hold=hold,
    )


async def _hold(
    message: Scheduled, question: Question, decider: Decider, allowed: Collection[str], since: int
) -> tuple[Settled, CapacityHold | None]:
    """Have what would be decided held. Raises Retry where its workspace holds too much, or reservations were lost."""
    request = message.request
    named = request.held_as(question.id)
    if len(decider.ledger.holds_of(request.placement.workspace)) >= holds.MOST_OF_WORKSPACE:
        raise Retry(1.0, f"its workspace has {holds.MOST_OF_WORKSPACE} holds, which is the most")
    until = decider.clock() + min(question.reserve, holds.MOST_SECONDS)
    holding = decider.charging(holds.Holding(decider.ledger, named, until), message, since, held_as=named, until=until)
    try:
        settled = await settle(message, holding, decider.inventory, allowed, since)
        if settled.refusal is not None or not settled.taken:  # of nothing, nothing is held
            return settled, None
        await holding.ensure()
        await decider.completeness.check(since)
    except (Crowded, Incomplete, Uncounted) as error:
        await holding.undo(())
        raise Retry(decider.settings.contended_retry_seconds, str(error)) from None
    return settled, CapacityHold(id=question.id, until=rfc3339(until), targets=len(settled.taken))


def _only(proposal: Proposal, allowed: Collection[str]) -> Proposal:
    """A proposal with those of its targets that may be named."""
    selected = tuple(each for each in proposal.selected if each.target in allowed)
    return replace(
        proposal,
        selected=selected,
        alternates=tuple(each for each in proposal.alternates if each.target in allowed),
    )

"""Quotas over all targets, early: what exceeds one by what is known here is not proposed; decision settles the rest."""

from shared.hub.quotas import Charged, Quotas
from shared.model.decision import Proposal, Refusal
from shared.model.quota import PLACEMENTS, shortage
from shared.model.reasons import RefusalCode, Stage
from shared.model.request import Request
from shared.model.resources import Resources, add, subtract


class QuotaCheck:
    """Refuses proposals beyond what quotas leave."""

    def __init__(self, quotas: Quotas, charged: Charged) -> None:
        self._quotas = quotas
        self._charged = charged

    async def follow(self) -> None:
        """Keep what is charged current, for ever."""
        async for _ in self._charged.follow():
            pass

    def within(self, request: Request, proposal: Proposal) -> Proposal:
        """A proposal, or the refusal in place of one that would take more of a quota than is left; nobody has to leave
        for what would not be taken then, either.

        What a placement is charged with already is taken for room in any target, though what it leaves in one is none
        until it is removed there: so nothing is refused here that decision would take.
        """
        choices = proposal.selected if proposal.preemption is None else proposal.preemption.choices
        if not choices:
            return proposal
        wanted = add(*(each.reserve for each in choices), {PLACEMENTS: 1.0})
        for quota in self._quotas.of(request.placement):
            own = self._charged.own(quota, request.placement)
            held = [self._charged.own(quota, each) for each in request.held_for]
            used = subtract(self._charged.total(quota), add(*held))
            if short := shortage(quota, used, _beyond(wanted, own)):
                refusal = Refusal(code=RefusalCode.QUOTA_EXCEEDED, message=str(short), stage=Stage.SCHEDULER)
                return Proposal(strategy=proposal.strategy, feasible=proposal.feasible, refusal=refusal)
        return proposal


def _beyond(wanted: Resources, own: Resources) -> Resources:
    return {name: max(0.0, amount - own.get(name, 0.0)) for name, amount in wanted.items()}

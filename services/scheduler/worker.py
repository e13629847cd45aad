"""Follow the inventory and the reservations; answer every `Evaluated` with a proposal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.scheduler.core import refusal_of, schedule
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from services.scheduler.turns import Turns
from shared.bus import Retry
from shared.messages import Evaluated, Scheduled
from shared.model import Proposal, Reservation, RuleResult, Target
from shared.runner import Runtime
from shared.state import INVENTORY, RESERVATIONS, View
from shared.tokens import split
from shared.worker import Worker

RETRY_SECONDS = 1.0
FETCHED = 256
"""Messages at hand, among which turns are fair."""
OUTCOMES = {"t": "true", "f": "false", "e": "error"}


class Scheduler:
    """The snapshot, kept current by two views, and the clock."""

    def __init__(self, runtime: Runtime) -> None:
        self.settings: SchedulerSettings = runtime.settings
        self.clock = runtime.clock
        self.snapshot = Snapshot()
        self.turns = Turns()
        self.revision = 0
        self._moved = asyncio.Condition()

    async def follow_inventory(self, view: View[Target]) -> None:
        """Bring changed targets into their rows, for ever."""
        targets: dict[str, str] = {}
        async for keys in view.changes():
            revision = view.revision
            for key in sorted(keys):
                target = view.get(key)
                if target is not None:
                    targets[key] = target.id
                    self.snapshot.put(target)
                elif key in targets:
                    self.snapshot.remove(targets.pop(key))
            async with self._moved:
                self.revision = revision
                self._moved.notify_all()

    async def follow_reservations(self, view: View[Reservation]) -> None:
        """Bring changed reservations into the columns, for ever."""
        noted: dict[str, Reservation] = {}
        async for keys in view.changes():
            for key in sorted(keys):
                workspace, name, *_ = split(key)
                reservation = view.get(key)
                if reservation is not None and reservation.resources:  # one that is given back stays as an empty one
                    noted[key] = reservation
                    self.snapshot.reserve(f"{workspace}/{name}", reservation)
                elif key in noted:
                    self.snapshot.release(f"{workspace}/{name}", noted.pop(key).placement)

    async def reached(self, revision: int) -> bool:
        """Wait, for a bounded time, until the columns hold the inventory as of `revision`."""
        if self.revision >= revision:
            return True
        try:
            async with asyncio.timeout(self.settings.catch_up_seconds), self._moved:
                await self._moved.wait_for(lambda: self.revision >= revision)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def open_scheduler(runtime: Runtime) -> AsyncIterator[Scheduler]:
    """Ready once both views are complete."""
    scheduler = Scheduler(runtime)
    inventory, reservations = await runtime.follow(INVENTORY), await runtime.follow(RESERVATIONS)
    runtime.background(scheduler.follow_inventory(inventory), "columns of the inventory")
    runtime.background(scheduler.follow_reservations(reservations), "columns of the reservations")
    yield scheduler


worker = Worker("scheduler", "Filters, scores and selects targets", settings=SchedulerSettings, open=open_scheduler)


@worker.handles(concurrency=FETCHED)
async def propose(message: Evaluated, deps: Scheduler) -> Scheduled:
    """One proposal from the snapshot as it is now."""
    request = message.request
    refusal = refusal_of(request, message.error)
    if refusal is not None:
        refused = Proposal(strategy=request.spec.strategy.type, refusal=refusal)
        return Scheduled(
            request=request, proposal=refused, rejections=message.rejections, inventory_revision=deps.revision
        )
    if not await deps.reached(message.inventory_revision):
        raise Retry(RETRY_SECONDS, f"the inventory is at {deps.revision}, not yet at {message.inventory_revision}")
    await deps.turns.take(request.placement.workspace, request.spec.priority)
    outcome = schedule(
        request,
        deps.snapshot,
        message.targets,
        now=request.requested_at or deps.clock(),  # the message's own time, so that it can be replayed
        settings=deps.settings,
        policy_scores=message.scores,
        upstream=message.rejections,
    )
    proposed = [choice.target for choice in (*outcome.proposal.selected, *outcome.proposal.alternates)]
    places = {target: place for place, target in enumerate(message.targets)}
    return Scheduled(
        request=request,
        proposal=outcome.proposal,
        rules={target: _outcomes(message.rules, places[target]) for target in proposed if message.rules},
        policy_scores={target: message.scores[places[target]] for target in proposed if message.scores},
        rejections=(*message.rejections, *outcome.rejections),
        inventory_revision=deps.revision,
    )


def _outcomes(rules: tuple[RuleResult, ...], place: int) -> dict[str, str]:
    """What each rule said of the target in a place: `policy/rule` -> true, false or error."""
    return {f"{rule.policy}/{rule.rule}": OUTCOMES.get(rule.outcomes[place : place + 1], "") for rule in rules}

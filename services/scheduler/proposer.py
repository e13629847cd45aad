"""The proposer: keeps the snapshot current, asks plugins, and turns `Evaluated` into `Scheduled`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

from msgspec.structs import replace

from services.scheduler.core import refusal_of
from services.scheduler.plugins import Plugins
from services.scheduler.preempting import propose
from services.scheduler.quotas import QuotaCheck
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from services.scheduler.turns import WorkspaceTurns
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.facts import UNSURE, affinity_facts, facts_digest
from shared.model.decision import Choice, Proposal, Reservation
from shared.model.policy import EXEMPT, RuleResult
from shared.model.refs import TargetRef
from shared.model.request import Request
from shared.model.target import Target
from shared.pipeline.messages import Evaluated, Scheduled

RETRY_SECONDS = 1.0
OUTCOMES = {"t": "true", "f": "false", "e": "error"}


class Proposer:
    """The snapshot, kept current by two views, and what decisions are made with."""

    def __init__(
        self,
        settings: SchedulerSettings,
        plugins: Plugins,
        clock: Callable[[], float],
        bounds: QuotaCheck | None = None,
    ) -> None:
        self.snapshot = Snapshot(assumed_seconds=settings.assumed_seconds)
        self.revision = 0
        self._settings = settings
        self._plugins = plugins
        self._clock = clock
        self._bounds = bounds
        self._turns = WorkspaceTurns()
        self._moved = asyncio.Condition()
        self._inventory: View[Target] | None = None

    async def follow_inventory(self, view: View[Target]) -> None:
        """Bring changed targets into their rows, for ever."""
        self._inventory = view
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
                reservation = view.get(key)
                if reservation is not None:  # one that is given back stays as an empty one
                    noted[key] = reservation
                    self.snapshot.reserve(TargetRef.owning(key).id, reservation)
                elif key in noted:  # else it could never be read
                    self.snapshot.release(TargetRef.owning(key).id, noted.pop(key).placement)

    async def propose(self, message: Evaluated) -> Scheduled:
        """One proposal, from an inventory at least as new as the message. What a question is answered with is not
        assumed to be taken.

        Raises `Retry` when that has not arrived within the bound.
        """
        request = message.request
        refusal = refusal_of(request, message.error)
        if refusal is not None:
            refused = Proposal(strategy=request.spec.strategy.type, refusal=refusal)
            return Scheduled(
                request=request, proposal=refused, rejections=message.rejections, inventory_revision=self.revision
            )
        if not await self._reached(message.inventory_revision):
            raise Retry(RETRY_SECONDS, f"the inventory is at {self.revision}, not yet at {message.inventory_revision}")
        plugin_answers = await self._plugins.ask(request, message.targets, self.snapshot)
        await self._turns.take(request.placement.workspace, request.spec.priority)
        if request.question is None:
            self._assume(request, (), self._clock())  # what it was given before does not stand in its way
        with self.snapshot.without(request.held_as(request.hold)) if request.hold else nullcontext():
            outcome = propose(
                request,
                self.snapshot,
                message.targets,
                now=request.requested_at or self._clock(),  # the message's own time, so that it can be replayed
                settings=self._settings,
                policy_scores=message.scores,
                upstream=message.rejections,
                plugin_answers=plugin_answers,
            )
        proposal = self._bounds.within(request, outcome.proposal) if self._bounds is not None else outcome.proposal
        if request.question is None:
            self._assume(request, proposal.selected, self._clock())
        facts = tuple(sorted({*message.facts, *affinity_facts(request.spec.affinity)}))
        return Scheduled(
            request=request,
            proposal=self._noted(proposal, facts, message) if facts else proposal,
            rules=_rules(message, proposal),
            warnings=_warnings(message, proposal),
            rejections=(*message.rejections, *outcome.rejections),
            inventory_revision=self.revision,
            facts=facts,
        )

    def _noted(self, proposal: Proposal, facts: Sequence[str], message: Evaluated) -> Proposal:
        """A proposal that says how the facts that decided are on what it proposes."""

        def note(choice: Choice) -> Choice:
            target = self.snapshot.target(self.snapshot.rows[choice.target])
            entry = self._inventory.entries.get(TargetRef.of(target).key) if self._inventory is not None else None
            newer = bool(message.facts) and entry is not None and entry.revision > message.facts_revision
            return replace(choice, facts=UNSURE if newer else facts_digest(target, facts))

        return replace(
            proposal,
            selected=tuple(map(note, proposal.selected)),
            alternates=tuple(map(note, proposal.alternates)),
        )

    def _assume(self, request: Request, selected: Iterable[Choice], now: float) -> None:
        """Count what is proposed as taken from now on, in place of what was proposed for that placement before."""
        self.snapshot.expire(now)
        asked = {
            choice.target: Reservation(
                placement=request.placement, head=request.head, resources=choice.reserve, labels=request.labels
            )
            for choice in selected
        }
        self.snapshot.assume(request.placement, request.head, asked, now)

    def _holds(self, revision: int) -> bool:
        return self.revision >= revision and (self._inventory is None or self._inventory.holds(revision))

    async def _reached(self, revision: int) -> bool:
        """Wait, for a bounded time, until the columns hold the inventory as of `revision`."""
        if self._holds(revision):
            return True
        try:
            async with asyncio.timeout(self._settings.catch_up_seconds), self._moved:
                await self._moved.wait_for(lambda: self._holds(revision))
        except TimeoutError:
            return False
        return True


def _proposed(proposal: Proposal) -> set[str]:
    return {choice.target for choice in (*proposal.selected, *proposal.alternates)}


def _warnings(message: Evaluated, proposal: Proposal) -> dict[str, tuple[str, ...]]:
    """What policies that warn say of the targets that are proposed."""
    found: dict[str, tuple[str, ...]] = {}
    proposed = _proposed(proposal) if message.warnings else set()
    for warning in message.warnings:
        for target in proposed.intersection(warning.targets):
            found[target] = (*found.get(target, ()), warning.message)
    return found


def _rules(message: Evaluated, proposal: Proposal) -> dict[str, dict[str, str]]:
    """The answers of the rules on the targets that are proposed."""
    if not message.rules:
        return {}
    proposed = _proposed(proposal)
    places = {target: place for place, target in enumerate(message.targets) if target in proposed}
    return {target: _outcomes(message.rules, place) for target, place in places.items()}


def _outcomes(rules: Iterable[RuleResult], place: int) -> dict[str, str]:
    """The answer of each rule on the target in a place: `policy/rule` -> true, false or error, and why that does not
    count where it does not."""
    said = {f"{rule.policy}/{rule.rule}": (rule, rule.outcomes[place : place + 1]) for rule in rules}
    return {
        name: OUTCOMES[outcome] + (EXEMPT + rule.exemption if rule.exemption else "")
        for name, (rule, outcome) in said.items()
        if outcome in OUTCOMES
    }

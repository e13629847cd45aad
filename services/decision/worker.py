"""The decision worker: reserves, writes the PlacementDecision, tells binding and status."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from services.decision import core
from services.decision.kubernetes import Decisions, selected_ids
from services.decision.ledger import Crowded, Ledger, Superseded, prefix_of
from services.decision.rebuild import rebuild
from shared.api import PlacementDecisionStatus
from shared.bus import Retry
from shared.kube.hub import open_hub
from shared.kube.retry import as_retry
from shared.messages import Assigned, Decided, Scheduled, Withdrawn
from shared.model import Choice, HeadEntry, Refusal, Request, Target
from shared.runner import Runtime
from shared.settings import HubSettings
from shared.state import HEADS, INVENTORY, RESERVATIONS, View
from shared.telemetry import current_trace
from shared.tokens import join
from shared.worker import Worker


class DecisionSettings(HubSettings, frozen=True, kw_only=True):
    """What the decision worker can be told."""

    crowded_delay: Annotated[float, Meta(description="Seconds until a lost race for a target is run again.", gt=0)] = (
        0.2
    )
    release_seconds: Annotated[
        float, Meta(description="How often reservations of placements that are gone are looked for, in seconds.", gt=0)
    ] = 60.0


@dataclass
class Decision:
    """What the handlers work with."""

    runtime: Runtime
    inventory: View[Target]
    heads: View[HeadEntry]
    ledger: Ledger
    decisions: Decisions

    def target(self, target: str, request: Request) -> Target | None:
        """A target that may be given something now, or one that is waited for and may keep what it has."""
        found = self.inventory.get(prefix_of(target))
        return found if found is not None and (found.ready or core.may_stay(target, request)) else None

    def lost(self, target: str) -> bool:
        """Whether a target cannot be reached for now."""
        found = self.inventory.get(prefix_of(target))
        return found is None or not found.ready


@asynccontextmanager
async def open_decision(runtime: Runtime) -> AsyncIterator[Decision]:
    """Follow the inventory and the reservations, which are rebuilt from the PlacementDecisions where they were lost."""
    async with open_hub(runtime.settings, "moorage-decision") as hub:
        decisions = Decisions(hub)
        table = runtime.table(RESERVATIONS)
        await rebuild(runtime, table, decisions)
        ledger = Ledger(table, await runtime.follow(RESERVATIONS))
        runtime.background(ledger.follow(), "ledger")
        inventory, heads = await runtime.follow(INVENTORY), await runtime.follow(HEADS)
        yield Decision(runtime, inventory, heads, ledger, decisions)


worker = Worker("decision", "Reserves capacity and writes decisions", settings=DecisionSettings, open=open_decision)


@worker.handles()
async def decide(message: Scheduled, deps: Decision) -> list[Decided | Assigned] | None:
    """Settle a proposal: reserve, record, tell binding what changes."""
    ref, head = message.request.placement, message.request.head
    try:
        with as_retry():
            status, found = await deps.decisions.read(ref)
            if status is not None and head.attempt < status.attempt:
                return None
            if status is None or head.attempt > status.attempt:
                taken, refusal = await settle(message, deps)
                if refusal is not None and refusal.code == "Contended":
                    return [core.decided(message, (), refusal, current_trace())]
                status = core.record(message, taken, refusal, status, deps.runtime.clock())
                await deps.decisions.write(ref, head, status, found)
            else:  # written before, by a delivery that ended before it told anybody
                taken, refusal = redelivered(message, status)
            present = await deps.decisions.bound(ref)
    except Superseded:
        return None
    except Crowded as error:
        raise Retry(deps.runtime.settings.crowded_delay, str(error)) from None
    selected = selected_ids(status)
    for prefix in deps.ledger.held_by(ref) - {prefix_of(target) for target in selected}:
        await deps.ledger.release(prefix, ref, head)
    news = core.decided(message, taken, refusal, current_trace())
    if refusal is not None:
        return [news]
    lost = {target for target in present if deps.lost(target)}
    return [news, *core.assignments(ref, head, status.selected, present, lost)]


async def settle(message: Scheduled, deps: Decision) -> tuple[list[Choice], Refusal | None]:
    """Reserve what was proposed, and alternates in place of what filled up; a refusal leaves nothing new reserved."""
    request, proposal = message.request, message.proposal
    if proposal.refusal is not None:
        return [], proposal.refusal
    least_score = request.spec.strategy.minimum_score
    proposed = core.eligible(proposal.selected, least_score)
    if not core.enough(proposed, proposal, request.spec):
        return [], core.below_minimum(message)
    held = deps.ledger.held_by(request.placement)
    alternates = core.eligible(proposal.alternates, least_score) if core.substitutable(request.spec) else []
    taken: list[Choice] = []
    for choice in (*proposed, *alternates):
        if len(taken) == len(proposal.selected):
            break
        target = deps.target(choice.target, request)
        if target and await deps.ledger.reserve(
            target, request.placement, request.head, choice.reserve, request.labels
        ):
            taken.append(choice)
    if core.enough(taken, proposal, request.spec):
        return taken, None
    for prefix in {prefix_of(choice.target) for choice in taken} - held:
        await deps.ledger.release(prefix, request.placement, request.head)
    return [], core.contended(message)


def redelivered(message: Scheduled, status: PlacementDecisionStatus) -> tuple[list[Choice], Refusal | None]:
    """What this same attempt decided before, told from what it wrote."""
    selected = selected_ids(status)
    known = {choice.target: choice for choice in (*message.proposal.selected, *message.proposal.alternates)}
    if message.proposal.refusal is not None or not selected <= set(known):
        return [], Refusal(code=(message.proposal.refusal or core.contended(message)).code, message=status.rationale)
    return [known[target] for target in sorted(selected)], None


@worker.handles()
async def withdraw(message: Withdrawn, deps: Decision) -> list[Assigned]:
    """A Placement goes away: give back what it holds, forget the decision, have everything removed."""
    ref, head = message.placement, message.head
    with as_retry():
        status, _ = await deps.decisions.read(ref)
        present = await deps.decisions.bound(ref) | selected_ids(status)
        for prefix in deps.ledger.held_by(ref):
            await deps.ledger.release(prefix, ref, head)
        await deps.decisions.forget(ref)
    return core.withdrawal(ref, head, present, orphan=message.orphan)


@worker.every(lambda settings: settings.release_seconds)
async def release_leftovers(deps: Decision) -> None:
    """Give back what placements hold that are gone: a decision may have died between reserving and writing."""
    for reservation in list(deps.ledger.holders()):
        ref = reservation.placement
        head = deps.heads.get(join(ref.workspace, ref.namespace, ref.name))
        if head is not None and head.deleted and reservation.head.older_than(head.head):
            for prefix in deps.ledger.held_by(ref):
                await deps.ledger.release(prefix, ref, head.head)

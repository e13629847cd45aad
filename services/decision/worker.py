"""The decision worker: reserves, writes the PlacementDecision, tells binding and status."""

import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from services.decision import core
from services.decision.kubernetes import Decisions, selected_ids
from services.decision.ledger import Crowded, Ledger, Superseded
from services.decision.rebuild import rebuild
from services.decision.vanished import Vanished
from shared.api import PlacementDecisionStatus
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.retry import as_retry
from shared.kube.errors import KubeError
from shared.model.decision import Choice, Refusal, Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry, Request
from shared.model.resources import Resources
from shared.model.target import Target, Workspace
from shared.pipeline.buckets import HEADS, INVENTORY, RESERVATIONS, WORKSPACES
from shared.pipeline.messages import Assigned, Bound, Decided, Scheduled, Withdrawn
from shared.pipeline.runner import Runtime
from shared.pipeline.worker import Worker
from shared.process.settings import HubSettings
from shared.process.tracing import current_trace

log = logging.getLogger("moorage.decision")

FORGOTTEN_AT_ONCE = 10_000
"""Released reservations that are deleted in one go, which takes some seconds."""


class DecisionSettings(HubSettings, frozen=True, kw_only=True):
    """What the decision worker can be told."""

    contended_retry_seconds: Annotated[
        float, Meta(description="Seconds until a lost race for a target is run again.", gt=0)
    ] = 0.2
    release_seconds: Annotated[
        float, Meta(description="How often reservations of placements that are gone are looked for, in seconds.", gt=0)
    ] = 60.0
    vanished_seconds: Annotated[
        float,
        Meta(
            description="Seconds for which the hub must say that a workspace is gone, until what its placements left in"
            " targets is removed.",
            ge=0,
        ),
    ] = 3600.0
    forget_released_seconds: Annotated[
        float,
        Meta(description="Seconds for which a released reservation is kept; longer than any message lives.", ge=3600),
    ] = 172_800.0


@dataclass
class Decision:
    """What the handlers work with."""

    runtime: Runtime
    inventory: View[Target]
    heads: View[HeadEntry]
    ledger: Ledger
    decisions: Decisions
    workspaces: View[Workspace]
    vanished: Vanished

    def target(self, target: str, request: Request) -> Target | None:
        """A target that may be given something now, or one that is waited for and may keep what it has."""
        found = self.inventory.get(TargetRef.parse(target).key)
        return found if found is not None and (found.ready or core.may_stay(target, request)) else None

    def lost(self, target: str) -> bool:
        """Whether a target cannot be reached for now."""
        found = self.inventory.get(TargetRef.parse(target).key)
        return found is None or not found.ready

    async def reserve(self, target: Target, request: Request, needed: Resources) -> bool:
        """Take capacity for whom a request is about; see `Ledger.reserve`."""
        orphan = request.spec.deletion_policy == "Orphan"
        return await self.ledger.reserve(target, request.placement, request.head, needed, request.labels, orphan=orphan)

    def newest(self, reservation: Reservation) -> Head:
        """The newest head of the placement that holds a reservation."""
        ref = reservation.placement
        known = self.heads.get(ref.key)
        return known.head if known is not None and reservation.head.older_than(known.head) else reservation.head

    async def release_all_but(self, ref: PlacementRef, head: Head, targets: Collection[str]) -> None:
        """Give back what a placement holds elsewhere. What is bound keeps its place until it is removed there."""
        for prefix in self.ledger.held_by(ref) - {TargetRef.parse(target).key for target in targets}:
            await self.ledger.release(prefix, ref, head)


@asynccontextmanager
async def open_decision(runtime: Runtime) -> AsyncIterator[Decision]:
    """Follow the inventory and the reservations, which are rebuilt from the PlacementDecisions where they were lost."""
    async with open_hub(runtime.settings, field_manager("decision")) as hub:
        decisions = Decisions(hub)
        table = runtime.table(RESERVATIONS)
        await rebuild(runtime, table, decisions)
        ledger = Ledger(table, await runtime.follow(RESERVATIONS), runtime.clock)
        runtime.background(ledger.follow(), "ledger")
        inventory, heads = await runtime.follow(INVENTORY), await runtime.follow(HEADS)
        workspaces = await runtime.follow(WORKSPACES)
        vanished = Vanished(hub.is_gone, time.monotonic, runtime.settings.vanished_seconds)
        yield Decision(runtime, inventory, heads, ledger, decisions, workspaces, vanished)


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
                await shrink(message, taken, deps)
            else:  # written before, by a delivery that ended before it told anybody
                taken, refusal = redelivered(message, status)
            present = await deps.decisions.bound(ref)
    except Superseded:
        return None
    except Crowded as error:
        raise Retry(deps.runtime.settings.contended_retry_seconds, str(error)) from None
    await deps.release_all_but(ref, head, selected_ids(status) | present)
    news = core.decided(message, taken, refusal, current_trace())
    if refusal is not None:
        return [news, *core.overlooked(ref, head, status.selected, present)]
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
    before = deps.ledger.held(request.placement)
    alternates = core.eligible(proposal.alternates, least_score) if core.substitutable(request.spec) else []
    taken: list[Choice] = []
    for choice in (*proposed, *alternates):
        if len(taken) == len(proposal.selected):
            break
        target = deps.target(choice.target, request)
        held = before.get(TargetRef.parse(choice.target).key)
        needed = core.at_least(choice.reserve, held.resources if held else {})
        if target and await deps.reserve(target, request, needed):
            taken.append(choice)
    if core.enough(taken, proposal, request.spec):
        return taken, None
    await deps.ledger.restore(before, request.placement, request.head)
    return [], core.contended(message)


async def shrink(message: Scheduled, taken: Sequence[Choice], deps: Decision) -> None:
    """Once a decision is written, what it takes less than before is given back."""
    request = message.request
    for choice in taken:
        target = deps.target(choice.target, request)
        if target is not None:
            await deps.reserve(target, request, choice.reserve)


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
        if await deps.decisions.lives(ref, head.uid):
            return []  # whoever thought that it was gone did not see well
        status, _ = await deps.decisions.read(ref)
        present = await deps.decisions.bound(ref) | selected_ids(status)
        await deps.release_all_but(ref, head, present)
        await deps.decisions.forget(ref)
    return core.withdrawal(ref, head, present, orphan=message.orphan)


@worker.handles()
async def give_back(message: Bound, deps: Decision) -> None:
    """What was removed from a target takes nothing there any more."""
    if message.phase != "Removed" or TargetRef.parse(message.target).key not in deps.ledger.held_by(message.placement):
        return
    status: PlacementDecisionStatus | None = None
    if not message.vanished:
        with as_retry():
            status, _ = await deps.decisions.read(message.placement)
    if message.target not in selected_ids(status):
        await deps.ledger.release(TargetRef.parse(message.target).key, message.placement, message.head)


@worker.every(lambda settings: settings.release_seconds)
async def release_leftovers(deps: Decision) -> None:
    """Give back what nobody decided or what is bound nowhere any more: a worker may have died halfway."""
    stale: dict[PlacementRef, Head] = {}
    for _, reservation in deps.ledger.holders():
        newest = deps.newest(reservation)
        if reservation.head.older_than(newest):
            stale[reservation.placement] = newest
    for ref, head in stale.items():
        try:
            status, _ = await deps.decisions.read(ref)
            present = await deps.decisions.bound(ref)
        except KubeError as error:
            log.warning("reservations are looked at again later", extra={"of": str(ref), "error": str(error)})
        else:
            await deps.release_all_but(ref, head, selected_ids(status) | present)


@worker.every(lambda settings: settings.release_seconds)
async def forget_released(deps: Decision) -> None:
    """Delete what was released so long ago that nobody can be about to take it with an older head."""
    before = deps.runtime.clock() - deps.runtime.settings.forget_released_seconds
    await deps.ledger.forget_released(before, FORGOTTEN_AT_ONCE)


@worker.every(lambda settings: settings.release_seconds)
async def clear_vanished(deps: Decision) -> list[Assigned]:
    """Have binding remove what placements hold whose workspaces are gone, with all that could be asked there.

    It is said again until binding has done it, since a target may be out of reach for longer than messages live.
    """
    holders = list(deps.ledger.holders())
    followed = {entry.value.path for entry in deps.workspaces.entries.values()}
    gone = await deps.vanished.among({each.placement.workspace for _, each in holders} - followed)
    return [
        core.vanished(target, each, deps.newest(each)) for target, each in holders if each.placement.workspace in gone
    ]

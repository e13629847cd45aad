"""The decision worker: reserves, writes the PlacementDecision, tells binding and status."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.decision import answering, holds, strays, upkeep, used
from services.decision.charges import Charges
from services.decision.completeness import Completeness
from services.decision.counted import reserved_ratio
from services.decision.decider import Decider
from services.decision.emission import Emission
from services.decision.kubernetes import Decisions
from services.decision.ledger import Ledger
from services.decision.preempting import Nominations
from services.decision.rebuild import keep_complete, rebuild
from services.decision.settings import DecisionSettings
from services.decision.vanished import VanishedWorkspaces
from shared.hub.access import open_access
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.quotas import Quotas
from shared.model.answer import DecisionAnswer
from shared.pipeline.buckets import (
    CHARGES,
    DECISION_COPIES,
    HEADS,
    INVENTORY,
    QUOTAS,
    RESERVATIONS,
    VICTIMS,
    WORKSPACES,
)
from shared.pipeline.messages import Assigned, Bound, Decided, Overwritten, Scheduled, Withdrawn
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker
from shared.process.measured import CONFLICTS, OUTDATED, RESERVED


@asynccontextmanager
async def open_decision(runtime: Runtime) -> AsyncIterator[Decider]:
    """Follow the inventory and the reservations, which are rebuilt from the PlacementDecisions where they were lost."""
    settings: DecisionSettings = runtime.settings
    async with (
        open_hub(settings, field_manager("decision")) as hub,
        open_access(hub, settings, runtime.clock) as access,
    ):
        emission = Emission(hub, settings.cluster_profile_namespace) if settings.standard_decisions else None
        decisions = Decisions(hub, emission)
        table = runtime.table(RESERVATIONS)
        completeness = Completeness(table)
        await rebuild(runtime, table, decisions)
        ledger = Ledger(table, await runtime.follow(RESERVATIONS), runtime.clock)
        runtime.background(ledger.follow(), "ledger")
        runtime.background(keep_complete(runtime, table, decisions, completeness), "keep reservations complete")
        inventory, heads = await runtime.follow(INVENTORY), await runtime.follow(HEADS)
        charges = Charges(runtime.table(CHARGES), await runtime.follow(CHARGES), runtime.clock)
        runtime.background(charges.follow(), "charges")
        nominations = Nominations(
            settings,
            ledger=ledger,
            charges=charges,
            access=access,
            inventory=inventory,
            heads=heads,
            table=runtime.table(VICTIMS),
            victims=await runtime.follow(VICTIMS),
            clock=runtime.clock,
        )
        decider = Decider(
            settings,
            ledger=ledger,
            charges=charges,
            quotas=Quotas(await runtime.follow(QUOTAS)),
            completeness=completeness,
            decisions=decisions,
            nominations=nominations,
            access=access,
            inventory=inventory,
            heads=heads,
            workspaces=await runtime.follow(WORKSPACES),
            vanished=VanishedWorkspaces(hub.is_gone, time.monotonic, settings.vanished_seconds),
            clock=runtime.clock,
            tell=runtime.emit,
        )
        runtime.readings += (
            CONFLICTS.number(lambda: ledger.lost),
            RESERVED.read(lambda: reserved_ratio(decider.inventory.values(), ledger.holders())),
            OUTDATED.number(lambda: upkeep.outdated(decider)),
        )
        runtime.background(used.keep_counted(decider), "count what quotas have used")
        yield decider


worker = Worker(
    "decision",
    "Reserves capacity and writes decisions",
    settings=DecisionSettings,
    open=open_decision,
    follows=(CHARGES, HEADS, INVENTORY, QUOTAS, RESERVATIONS, VICTIMS, WORKSPACES),
    copies=DECISION_COPIES,
    facts=(Overwritten,),
)


def _best_target(message: Scheduled) -> str:
    """One copy settles who gets a target, so that copies do not write its reservations at the same time."""
    selected = message.proposal.selected
    return selected[0].target if selected else message.about.key


def _target(message: Bound) -> str:
    """The same where it is given back."""
    return message.target


@worker.handles(dealt_by=_best_target)
async def decide(message: Scheduled, deps: Decider) -> list[Decided | Assigned] | None:
    """Settle a proposal: reserve, record, tell binding what changes."""
    return await deps.decide(message)


@worker.answers()
async def answer(message: Scheduled, deps: Decider) -> DecisionAnswer:
    """What would be decided; nothing of it is written, unless it is to be held."""
    return await answering.answer(message, deps)


@worker.handles()
async def withdraw(message: Withdrawn, deps: Decider) -> list[Assigned]:
    """A Placement goes away: give back what it holds, forget the decision, have everything removed."""
    return await deps.withdraw(message)


@worker.handles(keep_superseded=True, dealt_by=_target)
async def give_back(message: Bound, deps: Decider) -> None:
    """What was removed from a target takes nothing there any more, and what was applied smaller takes less."""
    await deps.give_back(message)


@worker.every(lambda settings: settings.release_seconds)
async def release_leftovers(deps: Decider) -> list[Assigned]:
    """Have removed what nobody decided or what is bound nowhere any more: a worker may have died halfway."""
    return await upkeep.release_leftovers(deps)


@worker.every(lambda settings: settings.release_seconds)
async def clear_strays(deps: Decider) -> list[Assigned]:
    """Have binding take out of targets what nobody decided."""
    return await strays.clear_strays(deps)


@worker.every(lambda settings: settings.release_seconds)
async def put_in_order(deps: Decider) -> None:
    """Bring decisions of earlier releases into today's shape, and take away what workers that died left of some."""
    await upkeep.put_in_order(deps)


@worker.every(lambda settings: settings.release_seconds)
async def emit(deps: Decider) -> None:
    """Have what SIG Multicluster reads say what is decided."""
    await upkeep.emit(deps)


@worker.every(lambda settings: settings.release_seconds)
async def put_requests_in_order(deps: Decider) -> None:
    """Withdraw ClusterRequests that were left behind."""
    await upkeep.put_requests_in_order(deps)


@worker.every(lambda settings: settings.hold_check_seconds)
async def end_holds(deps: Decider) -> None:
    """Give back what was held for long enough, and have those stay that were to leave for it."""
    await deps.nominations.give_up()
    now = deps.clock()
    await holds.end_holds(deps.ledger, deps.charges, lambda each: each.until <= now)
    await deps.nominations.tell()


@worker.every(lambda settings: settings.quota_seconds)
async def give_back_quotas(deps: Decider) -> None:
    """Charge quotas less for what targets have back."""
    await used.give_back(deps)


@worker.every(lambda settings: settings.release_seconds)
async def put_quotas_right(deps: Decider) -> None:
    """Charge quotas for what placements hold, no more and no less: a worker may have died halfway."""
    await used.put_right(deps)


@worker.every(lambda settings: settings.release_seconds)
async def forget_released(deps: Decider) -> None:
    """Delete what was released so long ago that nobody can be about to take it with an older head."""
    await upkeep.forget_released(deps)


@worker.every(lambda settings: settings.release_seconds)
async def clear_vanished(deps: Decider) -> list[Assigned]:
    """Have binding remove what placements hold whose workspaces are gone."""
    return await upkeep.clear_vanished(deps)

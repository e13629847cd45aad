"""The decision worker: reserves, writes the PlacementDecision, tells binding and status."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.decision import strays, upkeep
from services.decision.completeness import Completeness
from services.decision.decider import Decider
from services.decision.kubernetes import Decisions
from services.decision.ledger import Ledger
from services.decision.rebuild import keep_complete, rebuild
from services.decision.settings import DecisionSettings
from services.decision.vanished import VanishedWorkspaces
from shared.hub.access import open_access
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.pipeline.buckets import HEADS, INVENTORY, RESERVATIONS, WORKSPACES
from shared.pipeline.messages import Assigned, Bound, Decided, Scheduled, Withdrawn
from shared.pipeline.runner import Runtime
from shared.pipeline.worker import Worker


@asynccontextmanager
async def open_decision(runtime: Runtime) -> AsyncIterator[Decider]:
    """Follow the inventory and the reservations, which are rebuilt from the PlacementDecisions where they were lost."""
    settings: DecisionSettings = runtime.settings
    async with (
        open_hub(settings, field_manager("decision")) as hub,
        open_access(hub, settings, runtime.clock) as access,
    ):
        decisions = Decisions(hub)
        table = runtime.table(RESERVATIONS)
        completeness = Completeness(table)
        await rebuild(runtime, table, decisions)
        ledger = Ledger(table, await runtime.follow(RESERVATIONS), runtime.clock)
        runtime.background(ledger.follow(), "ledger")
        runtime.background(keep_complete(runtime, table, decisions, completeness), "keep reservations complete")
        yield Decider(
            settings,
            ledger=ledger,
            completeness=completeness,
            decisions=decisions,
            access=access,
            inventory=await runtime.follow(INVENTORY),
            heads=await runtime.follow(HEADS),
            workspaces=await runtime.follow(WORKSPACES),
            vanished=VanishedWorkspaces(hub.is_gone, time.monotonic, settings.vanished_seconds),
            clock=runtime.clock,
        )


worker = Worker(
    "decision",
    "Reserves capacity and writes decisions",
    settings=DecisionSettings,
    open=open_decision,
    follows=(HEADS, INVENTORY, RESERVATIONS, WORKSPACES),
)


@worker.handles()
async def decide(message: Scheduled, deps: Decider) -> list[Decided | Assigned] | None:
    """Settle a proposal: reserve, record, tell binding what changes."""
    return await deps.decide(message)


@worker.handles()
async def withdraw(message: Withdrawn, deps: Decider) -> list[Assigned]:
    """A Placement goes away: give back what it holds, forget the decision, have everything removed."""
    return await deps.withdraw(message)


@worker.handles(keep_superseded=True)
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
async def forget_released(deps: Decider) -> None:
    """Delete what was released so long ago that nobody can be about to take it with an older head."""
    await upkeep.forget_released(deps)


@worker.every(lambda settings: settings.release_seconds)
async def clear_vanished(deps: Decider) -> list[Assigned]:
    """Have binding remove what placements hold whose workspaces are gone."""
    return await upkeep.clear_vanished(deps)

"""Consumes Evaluated, emits Scheduled. Follows the inventory, the reservations and quotas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.scheduler.settings import PLUGINS, SchedulerSettings
from shared.pipeline.buckets import CHARGES, INVENTORY, QUOTAS, RESERVATIONS, SCHEDULER_COPIES
from shared.pipeline.messages import Evaluated, Scheduled
from shared.pipeline.worker import Worker

if TYPE_CHECKING:
    from services.scheduler.proposer import Proposer
    from shared.pipeline.runtime import Runtime

FETCHED = 256
"""Messages at hand, among which turns are fair."""


@dataclass(frozen=True)
class Scheduler:
    """Everything that the handler works with."""

    proposer: "Proposer"


@asynccontextmanager
async def open_scheduler(runtime: "Runtime") -> AsyncIterator[Scheduler]:
    """Follow inventory and reservations. NumPy is loaded here, not by whoever only reads declarations."""
    from services.scheduler.plugins import Plugins, asking
    from services.scheduler.proposer import Proposer
    from services.scheduler.quotas import QuotaCheck
    from shared.hub.quotas import Charged, Quotas

    settings: SchedulerSettings = runtime.settings
    bounds = QuotaCheck(Quotas(await runtime.follow(QUOTAS)), Charged(await runtime.follow(CHARGES)))
    runtime.background(bounds.follow(), "what is charged to quotas")
    proposer = Proposer(settings, Plugins(settings, asking(runtime.bus)), runtime.clock, bounds)
    inventory, reservations = await runtime.follow(INVENTORY), await runtime.follow(RESERVATIONS)
    runtime.background(proposer.follow_inventory(inventory), "columns of the inventory")
    runtime.background(proposer.follow_reservations(reservations), "columns of the reservations")
    yield Scheduler(proposer)


worker = Worker(
    "scheduler",
    "Filters, scores and selects targets",
    settings=SchedulerSettings,
    open=open_scheduler,
    follows=(CHARGES, INVENTORY, QUOTAS, RESERVATIONS),
    copies=SCHEDULER_COPIES,
    asks=(f"{PLUGINS}.>",),
)


@worker.answers()
@worker.handles(concurrency=FETCHED)
async def propose(message: Evaluated, deps: Scheduler) -> Scheduled:
    """One proposal from the snapshot as it is now."""
    return await deps.proposer.propose(message)

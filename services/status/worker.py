"""The status worker: health per target, aggregated onto the Placement; and what became of policies."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from services.status.kubernetes import StatusRecords
from services.status.policies import Policies
from services.status.reporter import Reporter
from services.status.reports import Reports
from services.status.settings import StatusSettings
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.retry import as_retry
from shared.hub.targets import TargetClients, perimeter
from shared.pipeline.buckets import CHECKS, HEADS, INVENTORY, REPORTS, STATUS_COPIES
from shared.pipeline.copies import Copies
from shared.pipeline.messages import Bound, Decided, Observed, Reported
from shared.pipeline.runner import Runtime
from shared.pipeline.worker import Worker


@asynccontextmanager
async def open_status(runtime: Runtime) -> AsyncIterator[Reporter]:
    """Connect to the hub, and follow what is placed."""
    settings: StatusSettings = runtime.settings
    async with open_hub(settings, field_manager("status")) as hub:
        clients = TargetClients(
            hub, user_agent=field_manager("status"), timeout=settings.api_timeout_seconds, perimeter=perimeter(settings)
        )
        records = StatusRecords(hub)
        copies = Copies(runtime.table(STATUS_COPIES), await runtime.follow(STATUS_COPIES), clock=runtime.clock)
        reporter = Reporter(
            settings,
            records=records,
            reports=Reports(runtime.table(REPORTS)),
            heads=await runtime.follow(HEADS),
            view=await runtime.follow(REPORTS),
            inventory=await runtime.follow(INVENTORY),
            clients=clients,
            copies=copies,
            clock=runtime.clock,
        )
        runtime.background(copies.run(), "tell the other copies of this one")
        policies = Policies(settings, records=records, checks=await runtime.follow(CHECKS), clock=runtime.clock)
        runtime.background(reporter.run(), "observe")
        runtime.background(policies.run(), "show policies")
        try:
            yield reporter
        finally:
            await clients.close()


worker = Worker(
    "status",
    "Reports health on Placements",
    settings=StatusSettings,
    open=open_status,
    follows=(CHECKS, HEADS, INVENTORY, REPORTS, STATUS_COPIES),
)


@worker.handles()
async def decided(message: Decided, deps: Reporter) -> None:
    """Show what was decided."""
    with as_retry():
        await deps.decided(message)


@worker.handles(keep_superseded=True)
async def bound(message: Bound, deps: Reporter) -> list[Reported | Observed]:
    """Record how a binding stands, and answer with how its objects are.

    What runs is of interest while the next round is under way, too.
    """
    with as_retry():
        return await deps.bound(message)


@worker.handles(keep_superseded=True)
async def reported(message: Reported, deps: Reporter) -> None:
    """Write the Placement's status."""
    with as_retry():
        await deps.reported(message)


@worker.source
async def observations(deps: Reporter) -> AsyncGenerator[Reported | Observed, None]:
    """News of the informers."""
    async for news in deps.observations():
        yield news


@worker.every(lambda settings: settings.stale_check_seconds)
async def stale(deps: Reporter) -> None:
    """Targets that fell silent; what is found is told by `observations`."""
    deps.check()

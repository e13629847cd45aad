"""The status worker: health per target, aggregated onto the Placement; and what became of policies."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from services.status.kubernetes import StatusRecords
from services.status.parked import PARKED_SUBJECT
from services.status.policies import Policies
from services.status.reporter import PLACES, Reporter
from services.status.reports import Reports
from services.status.settings import StatusSettings
from shared.broker.bus import Delivery
from shared.broker.dead import DEAD_LETTERS
from shared.hub.access_providers import providers
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.retry import as_retry
from shared.hub.targets import TargetClients, perimeter
from shared.pipeline.buckets import CHECKS, HEADS, INVENTORY, KINDS, REPORTS, STATUS_COPIES
from shared.pipeline.messages import Bound, Decided, Displayed, Message, Observed, Reported
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker
from shared.process.measured import BINDINGS


@asynccontextmanager
async def open_status(runtime: Runtime) -> AsyncIterator[Reporter]:
    """Connect to the hub, and follow what is placed."""
    settings: StatusSettings = runtime.settings
    async with open_hub(settings, field_manager("status")) as hub:
        clients = TargetClients(
            hub,
            user_agent=field_manager("status"),
            timeout=settings.api_timeout_seconds,
            perimeter=perimeter(settings),
            providers=providers(settings),
            tunnels=runtime.tunnels,
        )
        records = StatusRecords(hub)
        assert runtime.copies is not None
        reporter = Reporter(
            settings,
            records=records,
            reports=Reports(runtime.table(REPORTS), await runtime.follow(REPORTS)),
            heads=await runtime.follow(HEADS),
            view=await runtime.follow(REPORTS),
            inventory=await runtime.follow(INVENTORY),
            declared=await runtime.follow(KINDS),
            clients=clients,
            copies=runtime.copies,
            recalls=runtime.recalls,
            clock=runtime.clock,
        )
        policies = Policies(settings, records=records, checks=await runtime.follow(CHECKS), clock=runtime.clock)
        runtime.readings.append(BINDINGS.read(reporter.phases))
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
    follows=(CHECKS, HEADS, INVENTORY, KINDS, REPORTS),
    copies=STATUS_COPIES,
    tunnels=True,
    recalls=(Observed,),
)


def _placement(message: Message) -> str:
    """One copy shows a placement, and remembers the Placement as it wrote it."""
    return message.about.key


@worker.handles(dealt_by=_placement)
async def decided(message: Decided, deps: Reporter) -> Displayed | None:
    """Show what was decided."""
    with as_retry():
        return await deps.decided(message)


@worker.handles(keep_superseded=True, concurrency=PLACES, dealt_by=_placement)
async def bound(message: Bound, deps: Reporter) -> list[Reported | Observed]:
    """Record how a binding stands, and answer with how its objects are, where that is known by now or in a moment.

    What runs is of interest while the next round is under way, too.
    """
    with as_retry():
        return await deps.bound(message)


@worker.handles(keep_superseded=True, dealt_by=_placement)
async def reported(message: Reported, deps: Reporter) -> Displayed | None:
    """Write the Placement's status."""
    with as_retry():
        return await deps.reported(message)


@worker.handles(keep_superseded=True, dealt_by=_placement)
async def observed(message: Observed, deps: Reporter) -> Displayed | None:
    """Show how the objects in one target are, which binding hears at the same time."""
    with as_retry():
        return await deps.observed(message)


@worker.receives(DEAD_LETTERS, f"{PARKED_SUBJECT}.>")
async def parked(delivery: Delivery, deps: Reporter) -> None:
    """Show that a message about a placement was given up, whichever worker parked it."""
    with as_retry():
        await deps.parked(delivery.subject, delivery.headers, delivery.payload)


@worker.source
async def observations(deps: Reporter) -> AsyncGenerator[list[Reported | Observed], None]:
    """News of the informers."""
    async for news in deps.observations():
        yield news


@worker.every(lambda settings: settings.stale_check_seconds)
async def stale(deps: Reporter) -> None:
    """Targets that fell silent; what is found is told by `observations`."""
    deps.check()

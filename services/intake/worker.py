"""Receives requests, writes on the hub what they ask for, and answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.intake.backlog import Backlog
from services.intake.deciding import Deciding
from services.intake.gathering import Gathering
from services.intake.intake import Intake
from services.intake.journal import Journal
from services.intake.settings import IntakeSettings
from services.intake.users import Users
from services.intake.writing import Writer
from shared.broker.bus import Asked, Delivery, Reply
from shared.hub.access import open_access
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.pipeline.buckets import ASKED, HEADS, INTAKE_COPIES, INVENTORY, KINDS, REQUESTS
from shared.pipeline.events import EVENTS_SUBJECT
from shared.pipeline.questions import ASKED_ABOUT
from shared.pipeline.requests import ANSWERS_SUBJECT, INBOX, REQUESTS_SUBJECT, STREAM
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker


@asynccontextmanager
async def open_intake(runtime: Runtime) -> AsyncIterator[Intake]:
    """Connect to the hub, and read who may be spoken for."""
    settings: IntakeSettings = runtime.settings
    users = Users(settings.users_file)
    async with open_hub(settings, field_manager("intake")) as hub, open_access(hub, settings, runtime.clock) as access:
        writer = Writer(hub, access)
        intake = Intake(
            bus=runtime.bus,
            users=users,
            journal=Journal(runtime.table(REQUESTS), runtime.table(ASKED), Backlog(runtime.bus), runtime.clock),
            writer=writer,
            clock=runtime.clock,
            hub=settings.hub,
        )
        gathering = Gathering(
            hub,
            access,
            writer,
            await runtime.follow(HEADS),
            await runtime.follow(KINDS),
            lambda: runtime.follow(INVENTORY),
            runtime.clock,
        )
        intake.deciding = Deciding(runtime.bus, settings, gathering, intake.requester, runtime.clock)
        yield intake


worker = Worker(
    "intake",
    "Takes requests from the bus to the hub, as the users who publish them.",
    settings=IntakeSettings,
    open=open_intake,
    follows=(HEADS, INVENTORY, KINDS),
    copies=INTAKE_COPIES,
    questions=ASKED_ABOUT,
    tells=(f"{EVENTS_SUBJECT}.*.*.*.accepted", f"{EVENTS_SUBJECT}.*.*.*.rejected"),
    replies=(f"{INBOX}>", f"{ANSWERS_SUBJECT}.>"),
)


@worker.receives(STREAM, f"{REQUESTS_SUBJECT}.>")
async def requests(delivery: Delivery, deps: Intake) -> None:
    """Carry out a request, and answer it."""
    await deps.handle(delivery)


@worker.serves(f"{REQUESTS_SUBJECT}.*.*.decide", concurrency=1024)
async def decide(asked: Asked, deps: Intake) -> Reply:
    """Say what would be decided."""
    return await deps.deciding.answer(asked)

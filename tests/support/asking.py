"""Requests on the bus, as their publishers make them, and the intake worker beside a hub."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from services.intake.settings import IntakeSettings
from services.intake.worker import worker
from shared.broker.bus import Bus
from shared.broker.memory.bus import MemoryBus
from shared.broker.store import Store
from shared.cloudevents import CloudEvent, parse, structured
from shared.model.asking import request_type
from shared.model.words import Verb
from shared.pipeline.events import EVENTS_SUBJECT
from shared.pipeline.requests import RequestSubject
from shared.pipeline.runner import Running, run
from shared.process.tracing import Telemetry
from tests.support.manifests import placement
from tests.support.waiting import until

INBOX = "_INBOX.somebody.1"
_COUNT = itertools.count()


def request(verb: Verb, data: Any, *, id: str = "", inbox: str = INBOX, **more: Any) -> CloudEvent:
    """A request with a fresh id; `more` are further attributes."""
    return CloudEvent(
        id=id or f"request-{next(_COUNT)}",
        source="/tests",
        type=request_type(verb),
        extensions={"replyto": inbox} if inbox else {},
        data=json.dumps(data).encode(),
        **more,
    )


def place(name: str = "web", *, id: str = "", inbox: str = INBOX, **spec: Any) -> CloudEvent:
    """A request to place a Placement of this name in the namespace `shop`."""
    return request("place", {"placement": placement(name, **spec)}, id=id, inbox=inbox)


def withdraw(name: str = "web", *, id: str = "") -> CloudEvent:
    return request("withdraw", {"namespace": "shop", "name": name}, id=id)


class Publisher:
    """Publishes requests on a bus in memory, and looks at what is answered."""

    def __init__(self, bus: MemoryBus, workspace: str, user: str) -> None:
        self.bus = bus
        self.workspace = workspace
        self.user = user

    async def publish(self, event: CloudEvent | bytes, verb: Verb = "place", **as_other: str) -> None:
        payload = event if isinstance(event, bytes) else structured(event)
        subject = RequestSubject(as_other.get("workspace", self.workspace), as_other.get("user", self.user), verb)
        await self.bus.publish(subject.subject, payload, id=f"message-{next(_COUNT)}")

    async def ask(self, event: CloudEvent | bytes, verb: Verb = "place", **as_other: str) -> CloudEvent:
        """Publish a request, and wait for the answer in the events."""
        known = len(self.events())
        await self.publish(event, verb, **as_other)
        return await until(lambda: self._event_after(known), "an answer")

    def _event_after(self, known: int) -> CloudEvent | None:
        found = self.events()
        return found[-1] if len(found) > known else None

    def events(self) -> list[CloudEvent]:
        """The answers so far, as events."""
        stream = self.bus.broker.stream_of(f"{EVENTS_SUBJECT}.a.b.c.accepted")
        return [parse(each.payload, each.headers) for each in stream.messages.values()]

    def told(self, subject: str = INBOX) -> list[CloudEvent]:
        """The answers that were sent to an inbox."""
        return [parse(each.payload, each.headers) for each in self.bus.broker.told if each.subject == subject]

    async def dead(self) -> list[str]:
        """The causes of the dead letters."""
        return [each.cause async for each in self.bus.dead_letters()]


def data_of(event: CloudEvent) -> dict[str, Any]:
    """What an answer says."""
    found: dict[str, Any] = msgspec.json.decode(event.data)
    return found


@asynccontextmanager
async def taking(settings: IntakeSettings, bus: Bus, store: Store) -> AsyncIterator[Running]:
    """The intake worker at work."""
    stop, ready = asyncio.Event(), asyncio.Event()
    found: list[Running] = []
    async with asyncio.TaskGroup() as tasks:
        work = run(
            worker,
            settings,
            bus,
            store,
            stop=stop,
            telemetry=Telemetry("intake", {}),
            on_start=found.append,
            on_ready=ready.set,
        )
        tasks.create_task(work)
        try:
            async with asyncio.timeout(20):
                await ready.wait()
            yield found[0]
        finally:
            stop.set()


def write_users(path: Path, *users: dict[str, Any]) -> str:
    """A users file; its path."""
    path.write_text(json.dumps({"users": users}))
    return str(path)

"""The controller at work on a scene, over a bus and a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.controller.settings import ControllerSettings
from services.controller.worker import worker
from shared.broker.bus import BusError
from shared.broker.memory.bus import MemoryBus
from shared.broker.table import Table
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES
from shared.pipeline.messages import MESSAGES, Message, decoder
from shared.pipeline.runner import run
from shared.process.tracing import Telemetry
from tests.support.scene import TEAM, Scene, opened
from tests.support.waiting import until


class Bus(MemoryBus):
    """A bus that is out of order as long as a test says so, and what was said on it."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.refused = 0
        self.said: list[Message] = []

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        if self.broken:
            self.refused += 1
            raise BusError("no answer in time")
        stored = await super().publish(subject, payload, id=id, headers=headers)
        self.said += [
            decoder(kind).decode(payload) for kind in MESSAGES if subject.startswith(f"moorage.pipeline.{kind.stage}.")
        ]
        return stored

    async def says(self, kind: type[Message], count: int = 1) -> list[Message]:
        """The messages of a kind, once there are so many."""
        return await until(
            lambda: self.of(kind), f"{count} of {kind.__name__}", holds=lambda found: len(found) >= count
        )

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.said if isinstance(message, kind)]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene


@asynccontextmanager
async def at_work(scene: Scene, **settings: float) -> AsyncIterator[Bus]:
    """The controller at work in the workspace of the team; it must end well."""
    bus, stop, ready = Bus(), asyncio.Event(), asyncio.Event()
    kubeconfig = str(scene.ready.kubeconfigs["admin"])
    chosen = ControllerSettings(**{"kubeconfig": kubeconfig, "health_port": -1, "sweep_seconds": 0.05, **settings})
    await Table(scene.store, WORKSPACES).put("root=3Ateam", Workspace(path=TEAM))
    telemetry = Telemetry("controller", {})
    working = asyncio.create_task(
        run(worker, chosen, bus, scene.store, stop=stop, telemetry=telemetry, on_ready=ready.set)
    )
    await until(lambda: ready.is_set() or working.done())
    try:
        yield bus
    finally:
        stop.set()
        await working

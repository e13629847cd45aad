"""Binding and status at work on a scene, over a bus and a state in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.binding.settings import BindingSettings
from services.binding.worker import worker as binding
from services.status.settings import StatusSettings
from services.status.worker import worker as status
from shared import runner
from shared.bus import send
from shared.memory_bus import MemoryBus
from shared.messages import Message, encode
from shared.telemetry import Telemetry
from tests.support.scene import Scene, opened


class Pipeline:
    """The last two stages, running."""

    def __init__(self, scene: Scene, bus: MemoryBus) -> None:
        self.scene = scene
        self.bus = bus

    async def send(self, message: Message) -> None:
        await send(self.bus, message.subject(), encode(message), id=message.id())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene


@pytest.fixture
async def pipeline(scene: Scene) -> AsyncIterator[Pipeline]:
    bus, stop = MemoryBus(), asyncio.Event()
    admin = str(scene.ready.kubeconfigs["admin"])
    workers = (
        (binding, BindingSettings(kubeconfig=admin, health_port=-1)),
        (status, StatusSettings(kubeconfig=admin, health_port=-1, write_seconds=0.05, stale_check_seconds=0.05)),
    )
    async with asyncio.TaskGroup() as tasks:
        ready = []
        for worker, settings in workers:
            started = asyncio.Event()
            ready.append(started)
            tasks.create_task(
                runner.run(
                    worker,
                    settings,
                    MemoryBus(bus.broker),
                    scene.store,
                    stop=stop,
                    telemetry=Telemetry(worker.name, {}),
                    on_ready=lambda _running, _port, started=started: started.set(),
                )
            )
        for started in ready:
            await started.wait()
        yield Pipeline(scene, bus)
        stop.set()

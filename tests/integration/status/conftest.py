"""Binding and status at work on a scene, over a bus and a state in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.binding.settings import BindingSettings
from services.binding.worker import worker as binding
from services.status.settings import StatusSettings
from services.status.worker import worker as status
from shared.broker.claims import send
from shared.broker.memory.bus import MemoryBus
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import PLACEMENTS
from shared.kube.times import rfc3339
from shared.model.decision import Choice, Refusal
from shared.model.refs import Head, PlacementRef
from shared.model.target import Target
from shared.pipeline import runner
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.messages import Decided, Message, encode
from shared.pipeline.worker import Worker
from shared.process.settings import Settings
from shared.process.tracing import Telemetry
from tests.support import perimeter
from tests.support.scene import PLATFORM, Scene

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Pipeline:
    """The last two stages on one bus; each worker can be stopped and started."""

    def __init__(self, scene: Scene, tasks: asyncio.TaskGroup) -> None:
        self.scene = scene
        self.bus = MemoryBus()
        self.written = 0  # reports, before what a test looks at
        self._tasks = tasks
        self._stops: dict[str, asyncio.Event] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._buses: dict[str, MemoryBus] = {}
        admin = {"kubeconfig": str(scene.ready.kubeconfigs["admin"]), "health_port": -1, **perimeter.SETTINGS}
        self._settings: dict[str, tuple[Worker, Settings]] = {
            "binding": (binding, BindingSettings(**admin)),
            "status": (status, StatusSettings(**admin, write_seconds=0.02, stale_check_seconds=0.05)),
        }

    async def start(self, *names: str, **changes: Any) -> None:
        """Start workers; after a blank, a name may say which copy it is."""
        for name in names:
            worker, settings = self._settings[name.partition(" ")[0]]
            settings = msgspec.structs.replace(settings, **changes)
            ready, stop = asyncio.Event(), asyncio.Event()
            bus = self._buses[name] = MemoryBus(self.bus.broker)
            run = runner.run(
                worker,
                settings,
                bus,
                self.scene.store,
                stop=stop,
                telemetry=Telemetry(name, {}),
                on_ready=ready.set,
            )
            self._stops[name] = stop
            self._running[name] = self._tasks.create_task(run)
            await ready.wait()

    async def stop(self, *names: str) -> None:
        for name in names:
            self._stops[name].set()
            await self._running[name]

    async def kill(self, name: str) -> None:
        """Stop a worker as a crash does."""
        await self._buses.pop(name).close()
        running = self._running.pop(name)
        del self._stops[name]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def close(self) -> None:
        await self.stop(*self._stops)

    async def send(self, *messages: Message) -> None:
        for message in messages:
            await send(self.bus, message.subject(), encode(message), id=message.id())

    async def decide(self, ref: PlacementRef, *targets: str, unreported: bool = False) -> Head:
        """A decision for these targets, applied in all of them; the first of a Placement, if it is `unreported`."""
        found = await self.scene.team.get(PLACEMENTS, ref.name, ref.namespace)
        head = await self.scene.decide(ref, *targets)
        choices = tuple(Choice(target=f"{PLATFORM}/{name}", score=90.0) for name in targets)
        at = rfc3339(self.scene.clock())
        news = Decided(
            placement=ref,
            head=head,
            selected=choices,
            considered=3,
            trace=TRACE,
            decided_at=at,
            unreported=found["metadata"]["resourceVersion"] if unreported else "",
        )
        await self.send(news)
        await self.send(*(self.scene.assigned(ref, head, name) for name in targets))
        return head

    async def refuse(self, ref: PlacementRef, message: str, *keeping: str) -> None:
        head = await self.scene.decide(ref, *keeping)
        refusal = Refusal(code="NoFeasibleTarget", message=message)
        await self.send(Decided(placement=ref, head=head, refusal=refusal, considered=3, trace=TRACE))

    async def change_target(self, name: str, **changes: Any) -> None:
        """Write what discovery would find out about a target."""
        table: Table[Target] = Table(self.scene.store, INVENTORY)
        entry = await table.get(join(PLATFORM, name))
        assert entry is not None
        fields = {field: getattr(entry.value, field) for field in entry.value.__struct_fields__}
        await table.put(entry.key, Target(**{**fields, **changes}))


@pytest.fixture
async def idle(scene: Scene) -> AsyncIterator[Pipeline]:
    """Nothing runs yet."""
    async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
        pipeline = Pipeline(scene, tasks)
        stack.push_async_callback(pipeline.close)
        yield pipeline


@pytest.fixture
async def pipeline(idle: Pipeline) -> Pipeline:
    await idle.start("binding", "status")
    return idle

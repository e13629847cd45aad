"""The whole pipeline in one process, in memory or on NATS, over a world that the sandbox serves by HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from services.cli.support import offers
from services.cli.support.local import READY_WITHIN
from services.registry import load_all
from services.sandbox.run import serve
from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response
from services.sandbox.world.world import World
from shared.broker.bus import Bus
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.nats.connection import connect
from shared.broker.store import Store
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.quantity import parse_quantity
from shared.kube.resources import DEPLOYMENTS, NAMESPACES, Resource
from shared.model.refs import TargetRef
from shared.model.request import Request
from shared.pipeline.buckets import BUCKETS, RESERVATIONS
from shared.pipeline.messages import PIPELINE, Requested, decoder
from shared.pipeline.runner import Running, run
from shared.pipeline.topology import PIPELINE_STREAM
from shared.process.settings import NatsSettings
from shared.process.tracing import Telemetry
from tests.support import waiting, worlds
from tests.support.client import if_there

BOUND = 60.0  # seconds that anything may take on a busy machine
PAUSE = 0.05

until = partial(waiting.until, within=BOUND, pause=PAUSE)

JOBS = Resource("batch", "v1", "jobs", kind="Job")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", kind="StatefulSet")
COUNTED = {DEPLOYMENTS: "replicas", STATEFUL_SETS: "replicas", JOBS: "parallelism"}
"""Workloads, each with the field that says how many pods there may be at once."""

BESIDE_US: Mapping[str, Any] = {
    "health_port": -1,
    "drain_seconds": 2.0,
    "target_allow": "127.0.0.0/8,::1/128",
    "target_plain_http": True,
    "trusted_providers": worlds.PLATFORM,
}
"""Settings of all workers that run where targets are served by plain HTTP; each takes those that it has."""

BRISK: Mapping[str, Any] = {
    "sweep_seconds": 0.2,
    "drift_seconds": 0.0,
    "waiting_initial_seconds": 1.0,
    "waiting_max_seconds": 2.0,
    "write_seconds": 0.0,
}
"""Shorter pauses than there are by default."""


Connection = Callable[[str], Awaitable[tuple[Bus, Store]]]
"""Connects a worker to the bus and the store."""


class Together:
    """The system at work. `user` is alice's client of her workspace, `admin` the operator's of the hub, `targets` are
    clients of the target clusters.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        broker: MemoryBroker,
        store: Store,
        admin: Client,
        user: Client,
        targets: dict[str, Client],
    ) -> None:
        self.sandbox = sandbox
        self.broker = broker
        self.admin = admin
        self.store = store
        self.user = user
        self.targets = targets
        self.connections: list[tuple[str, Bus]] = []
        """Those of the workers by their names, a connection for each copy."""
        self.at_work: list[Running] = []
        """The workers at work."""

    async def place(self, name: str, deployment: Mapping[str, Any] | None = None, **spec: Any) -> None:
        """A Placement, and the Deployment that it is of if it is to be made."""
        if deployment is not None:
            await self.user.create(DEPLOYMENTS, dict(deployment))
        await self.user.create(PLACEMENTS, worlds.placement(name, **spec))

    async def edit(self, resource: Resource, name: str, spec: Mapping[str, Any]) -> None:
        """Change fields of an object's spec in alice's workspace."""
        await self.user.merge_patch(resource, name, {"spec": spec}, worlds.NAMESPACE)

    async def status(self, name: str) -> dict[str, Any]:
        found = await self.user.get(PLACEMENTS, name, worlds.NAMESPACE)
        return found.get("status") or {}

    async def reaches(self, name: str, *phases: str) -> dict[str, Any]:
        """The Placement's status, once it is in one of these phases, for its newest generation."""

        async def look() -> dict[str, Any]:
            found = await self.user.get(PLACEMENTS, name, worlds.NAMESPACE)
            status = found.get("status") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return status if current or not phases else {}

        status: dict[str, Any] = await until(
            look, f"{name} is {' or '.join(phases)}", holds=lambda found: found.get("phase") in phases
        )
        return status

    async def decision(self, name: str) -> dict[str, Any]:
        """The PlacementDecision's status; empty while there is none."""
        found = await if_there(self.user.get(DECISIONS, name, worlds.NAMESPACE))
        return (found or {}).get("status") or {}

    async def chosen(self, name: str) -> list[str]:
        """The names of the targets that are selected."""
        return [each["target"]["name"] for each in (await self.decision(name)).get("selected", ())]

    def before(self, method: str, path: str, act: Callable[[], Awaitable[object]]) -> None:
        """Have something done once, just before the first request of a method whose path ends so is handled."""
        handle, due = self.sandbox.handle, [act]

        async def tapped(request: HttpRequest) -> Response:
            if due and request.method == method and request.path.endswith(path):
                await due.pop()()
            return await handle(request)

        self.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request

    async def binding(self, name: str) -> dict[str, Any]:
        """The one PlacementBinding of a Placement."""
        (found,) = [each for each in await self.bindings() if each["spec"]["placementRef"]["name"] == name]
        return found

    def requested(self, name: str) -> Request:
        """What the controller asked for last."""
        messages = self.broker.streams[PIPELINE_STREAM].messages.values()
        subject = f"{PIPELINE}.{Requested.stage}.{join(worlds.TEAM, worlds.NAMESPACE, name)}"
        found = [decoder(Requested).decode(each.payload) for each in messages if each.subject == subject]
        request: Request = found[-1].request
        return request

    async def bindings(self) -> list[dict[str, Any]]:
        return (await self.user.list(BINDINGS, worlds.NAMESPACE)).items

    async def applied(self, name: str, target: str, resource: Resource = DEPLOYMENTS) -> dict[str, Any] | None:
        """An object as it is in a target."""
        return await if_there(self.targets[target].get(resource, name, worlds.NAMESPACE))

    async def running(self, target: str, resource: str = "cpu") -> float:
        """What the pods that the workloads of a target may have at once request together, in base units."""
        total = 0.0
        for kind, count in COUNTED.items():
            for obj in (await self.targets[target].list(kind)).items:
                containers = obj["spec"]["template"]["spec"].get("containers", ())
                asked = (each.get("resources", {}).get("requests", {}).get(resource, 0) for each in containers)
                total += obj["spec"].get(count, 1) * sum(map(parse_quantity, asked))
        return total

    async def reserved(self, target: str, resource: str = "cpu") -> float:
        """What is reserved in a target together, in base units."""
        prefix = TargetRef(workspace=worlds.PLATFORM, name=target).key
        entries = await Table(self.store, RESERVATIONS).entries(prefix)
        return sum(each.value.resources.get(resource, 0.0) for each in entries)


@asynccontextmanager
async def together(
    folder: Path,
    world: dict[str, Any],
    *,
    pace: Mapping[str, Any] = BRISK,
    nats: str = "",
    copies: int = 1,
    telemetry: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Together]:
    """So many copies of all workers at work within the block, every target ready; on the NATS at this URL, or else in
    memory. `telemetry`: an environment that may name where spans go."""
    served = msgspec.convert(world, World)
    async with AsyncExitStack() as stack:
        ready = await stack.enter_async_context(serve(served, "127.0.0.1", 0, folder, tls=False))
        admin = ready.kubeconfigs["admin"]
        offered = msgspec.convert(world, offers.ManifestWorld)
        await offers.apply(offered, admin, folder)
        broker, memory = MemoryBroker(), MemoryStore()
        connections = list[tuple[str, Bus]]()
        chosen = {**BESIDE_US, **pace, "nats_url": nats, "kubeconfig": str(admin), **settings}

        async def connection(name: str) -> tuple[Bus, Store]:
            if not nats:
                return MemoryBus(broker), memory
            bus, store = await connect(name, NatsSettings(nats_url=nats))
            stack.push_async_callback(bus.close)
            connections.append((name, bus))
            return bus, store

        _, store = await connection("test")
        await store.provision(BUCKETS)
        at_work = list[Running]()
        await stack.enter_async_context(_at_work(connection, chosen, copies, telemetry or {}, at_work))
        await offers.until_ready(offered, admin, asyncio.get_running_loop().time() + READY_WITHIN)

        async def client(name: str) -> Client:
            return await stack.enter_async_context(Client(load_kubeconfig(ready.kubeconfigs[name])))

        user = await client(f"user-{worlds.USER}")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
        await user.create(NAMESPACES, namespace)
        targets = {each.name: await client(f"target-{each.name}") for each in served.targets}
        hub = await client("admin")
        found = Together(ready.sandbox, broker, store, hub, user, targets)
        found.connections = connections
        found.at_work = at_work
        yield found


@asynccontextmanager
async def _at_work(
    connection: Connection,
    settings: Mapping[str, Any],
    copies: int,
    env: Mapping[str, str],
    at_work: list[Running],
) -> AsyncIterator[None]:
    stop, started = asyncio.Event(), asyncio.Semaphore(0)
    workers = load_all() * copies
    telemetries = [Telemetry(worker.name, env) for worker in workers]
    async with asyncio.TaskGroup() as tasks:
        for worker, telemetry in zip(workers, telemetries, strict=True):
            names = {field.name for field in msgspec.structs.fields(worker.settings)}
            chosen = worker.settings(**{name: value for name, value in settings.items() if name in names})
            work = run(
                worker,
                chosen,
                *await connection(worker.name),
                stop=stop,
                telemetry=telemetry,
                on_start=at_work.append,
                on_ready=started.release,
            )
            tasks.create_task(work, name=worker.name)
        async with asyncio.timeout(BOUND):
            for _ in workers:
                await started.acquire()
        try:
            yield
        finally:
            stop.set()
    for telemetry in telemetries:
        await asyncio.to_thread(telemetry.close)

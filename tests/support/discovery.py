"""The discovery worker on a sandbox, with bus and state in memory, and a test's hands on all of them."""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from services.discovery.worker import worker
from services.sandbox.errors import ApiError
from services.sandbox.run import serve
from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response, refusal
from services.sandbox.world.world import Person, Target, World
from shared.api import PlacementSpec
from shared.broker.bus import Consumer
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Bucket, Raw
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import SYNCTARGETS, WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, SECRETS
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, Requester, WorkloadObject
from shared.model.target import Target as Entry
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS, INVENTORY
from shared.pipeline.buckets import WORKSPACES as STORED_WORKSPACES
from shared.pipeline.messages import Discovered, Requested, decoder, encode
from shared.pipeline.runner import Running, run
from shared.pipeline.worker import Worker
from shared.process import health
from shared.process.tracing import Telemetry
from tests.support import perimeter
from tests.support.process import http_get
from tests.support.waiting import until

BOUND = 15.0  # seconds that a test waits for a condition at most
CRD = yaml.safe_load((Path(__file__).parents[2] / "deploy/crds/synctargets.yaml").read_text())

WORLD = World(
    workspaces=["root:platform", "root:platform:edge", "root:team", "root:empty"],
    users=[Person("tess", ["team"], {"root:team": "admin", "root:platform": "none"}, token="tess")],
    targets=[Target("east"), Target("west", lacks=["batch/v1"])],
    serves=[],
    admin_token="admin",
)


class Scene:
    """A sandbox, the worker's bus and state, and shorthands."""

    def __init__(self, sandbox: Sandbox, kubeconfigs: dict[str, Path], hub: Client) -> None:
        self.sandbox = sandbox
        self.kubeconfigs = kubeconfigs
        self.hub = hub
        self.bus = MemoryBus()
        self.store = MemoryStore()
        self.answers: asyncio.Queue[Discovered] = asyncio.Queue()
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, int] = {}
        self.started: list[Running] = []
        self._handle = sandbox.handle
        sandbox.handle = self._meddled  # type: ignore[method-assign]  # the server's behaviour is the test's to choose

    async def _meddled(self, http: HttpRequest) -> Response:
        """Count by method and path; answer with a status from `faults` where the path ends so."""
        self.requests[f"{http.method} {http.path}"] += 1
        for suffix, status in self.faults.items():
            if http.path.endswith(suffix):
                return refusal(ApiError(status, "Fault", "as the test wants it"))
        return await self._handle(http)

    async def looks(self, name: str, count: int) -> None:
        """Wait until a target cluster was probed that often from now on."""
        path = f"GET /clusters/target:{name}/readyz"
        wanted = self.requests[path] + count
        await until(lambda: self.requests[path] >= wanted)

    @contextlib.asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[None]:
        """The worker, with quick settings unless told otherwise; leaving stops it."""
        quick = {
            "probe_interval_seconds": 0.1,
            "lost_after_seconds": 0.3,
            "absent_retry_seconds": 0.1,
            "rewalk_interval_seconds": 0.5,
            "trusted_providers": "root:platform",
        }
        async with self.running_worker(worker, **{**quick, **settings}):
            yield

    async def measured(self, name: str) -> dict[str, float]:
        """What the worker that was started last shows of a metric, over HTTP, by its labels."""
        runtime = self.started[-1].runtime
        async with health.serve("127.0.0.1", 0, lambda: "", lambda: runtime.readings) as port:
            assert port is not None
            _, text = await http_get(port, "/metrics")
        lines = [line.partition(name) for line in text.splitlines() if line.startswith(name)]
        return {labels: float(number) for labels, _, number in (rest.rpartition(" ") for _, _, rest in lines)}

    @contextlib.asynccontextmanager
    async def running_worker(self, worker: Worker, **settings: Any) -> AsyncIterator[None]:
        """Any worker, on the same hub, bus and state; leaving stops it."""
        kubeconfig = str(self.kubeconfigs["admin"])
        chosen = worker.settings(**{"kubeconfig": kubeconfig, "health_port": -1, **perimeter.SETTINGS, **settings})
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(
            run(
                worker,
                chosen,
                self.bus,
                self.store,
                stop=stop,
                telemetry=Telemetry(worker.name, {}),
                on_start=self.started.append,
                on_ready=ready.set,
            )
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED, timeout=BOUND)
        waiting.cancel()
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(BOUND):
                await task

    @contextlib.asynccontextmanager
    async def recorded(self, *buckets: Bucket[Any]) -> AsyncIterator[list[Raw]]:
        """What the buckets hold, then whatever is written there and deleted, within the block."""
        news: list[Raw] = []

        async def record(bucket: Bucket[Any]) -> None:
            async for raw in self.store.raw(bucket).watch():
                if raw is not None:
                    news.append(raw)  # noqa: PERF401 - the watch never ends, what came so far is what counts

        watching = [asyncio.create_task(record(bucket)) for bucket in buckets]
        try:
            yield news
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def paths(self) -> set[str]:
        return {entry.value.path for entry in await Table(self.store, STORED_WORKSPACES).entries()}

    async def entry(self, workspace: str, name: str) -> Entry | None:
        found = await Table(self.store, INVENTORY).get(join(workspace, name))
        return found.value if found else None

    async def ready(self, workspace: str, name: str) -> Entry:
        """The inventory entry, once it is ready."""

        async def look() -> Entry | None:
            found = await self.entry(workspace, name)
            return found if found and found.ready else None

        found: Entry = await until(look, within=BOUND)
        return found

    async def define(self, workspace: str) -> None:
        await self.hub.cluster(workspace).create(CRDS, CRD)

    async def offer(self, workspace: str, name: str, **spec: Any) -> None:
        """A SyncTarget for the target cluster of that name, with its kubeconfig."""
        content = base64.b64encode(self.kubeconfigs[f"target-{name}"].read_bytes()).decode()
        secret = {"metadata": {"name": f"{name}-kubeconfig", "namespace": "default"}, "data": {"kubeconfig": content}}
        client = self.hub.cluster(workspace)
        await client.apply(SECRETS, {"apiVersion": "v1", "kind": "Secret", **secret}, force=True)
        ref = {"namespace": "default", "name": f"{name}-kubeconfig"}
        await client.create(
            SYNCTARGETS,
            {
                "apiVersion": SYNCTARGETS.api_version,
                "kind": "SyncTarget",
                "metadata": {"name": name, "labels": {"topology.kubernetes.io/region": name}},
                "spec": {"kubeconfigSecretRef": ref, **spec},
            },
        )

    async def workspace(self, parent: str, name: str) -> None:
        body = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
        await self.hub.cluster(parent).create(WORKSPACES, body)

    async def place(
        self, *, attempt: int = 1, username: str = "tess", kinds: tuple[str, ...] = (), **more: Any
    ) -> Discovered:
        """What discovery answers to a request from root:team."""
        spec = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "web"}]}, PlacementSpec)
        request = Request(
            placement=PlacementRef(workspace="root:team", namespace="default", name="web"),
            head=Head(uid="u", generation=1, attempt=attempt),
            cause=Cause(code="Created"),
            spec=spec,
            requester=Requester(username=username) if username else None,
            workload=tuple(
                WorkloadObject(
                    api_version=kind.rpartition(" ")[0], kind=kind.rpartition(" ")[2], namespace="n", name="w"
                )
                for kind in kinds
            ),
            **more,
        )
        message = Requested(request=request)
        await self.bus.publish(message.subject(), encode(message), id=message.id())
        async with asyncio.timeout(BOUND):
            return await self.answers.get()


@contextlib.asynccontextmanager
async def opened(directory: Path, *, tls: bool = False) -> AsyncIterator[Scene]:
    """A scene, its servers running within the block."""
    async with (
        serve(WORLD, "127.0.0.1", 0, directory, tls=tls) as sandbox,
        Client(load_kubeconfig(sandbox.kubeconfigs["admin"])) as hub,
    ):
        scene = Scene(sandbox.sandbox, sandbox.kubeconfigs, hub)
        await scene.bus.provision(topology.streams(), ())
        await scene.store.provision(BUCKETS)
        listener = Consumer(name="test", stream=topology.PIPELINE_STREAM, subject="moorage.pipeline.discovered.>")
        await scene.bus.provision((), (listener,))

        async def hear(delivery: Any) -> None:
            scene.answers.put_nowait(decoder(Discovered).decode(delivery.payload))

        consumption = await scene.bus.consume(listener, hear)
        yield scene
        await consumption.drain(1.0)
        await scene.bus.close()

"""Load on a whole system: real NATS, HTTPS to the sandbox, every worker a process; and what it costs, from outside.

Times run from the moment before a Placement is posted to the moment when a watch delivers its PlacementDecision with a
selection, and the Placement as Ready.
"""

import asyncio
import resource
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats
from nats.aio.msg import Msg

from services.cli.support.plan import Plan
from services.cli.support.system import Up, up
from shared.broker.nats.connection import connect
from shared.broker.nats.store import bucket_name
from shared.broker.store import Bucket, Store
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.informer import Informer
from shared.kube.resources import DEPLOYMENTS, NAMESPACES
from shared.pipeline.buckets import RESERVATIONS
from shared.process.settings import NatsSettings
from tests.support import worlds
from tests.support.counting import FOLLOWERS, OURS

AT_ONCE = 50  # requests
PATIENCE = 300.0  # seconds until all processes are ready: there may be many, on a busy machine
PROBED = frozenset(
    [
        *("readyz", "livez", "version", "api", "apis", "openapi"),
        *("nodes", "pods", "secrets", "synctargets", "synctargets/status", "subjectaccessreviews"),
    ]
)
"""Resources, or first parts of paths, that are asked for the sake of targets."""

NO_BOUNDS = {"MOORAGE_MAX_WORKSPACE_ROUNDS_PER_MINUTE": "0", "MOORAGE_MAX_WORKSPACE_PLACEMENTS": "0"}
"""One workspace has the whole load here, which its bounds would hold back."""


class _Target(msgspec.Struct):
    name: str


class _Selected(msgspec.Struct):
    target: _Target


class _Decided(msgspec.Struct):
    selected: list[_Selected] = []


class Decision(msgspec.Struct):
    """As much of a PlacementDecision as is looked at."""

    status: _Decided = msgspec.field(default_factory=_Decided)

    @property
    def targets(self) -> list[str]:
        return [each.target.name for each in self.status.selected]


class _Status(msgspec.Struct):
    phase: str = ""


class _Placement(msgspec.Struct):
    """As much of a Placement as is looked at."""

    status: _Status = msgspec.field(default_factory=_Status)


class Times(msgspec.Struct):
    """When each placement was posted, decided and Ready, by its name; in seconds of the same clock."""

    created: dict[str, float] = {}
    decided: dict[str, float] = {}
    ready: dict[str, float] = {}

    def milliseconds(self, until: Mapping[str, float]) -> list[float]:
        return [(until[name] - created) * 1000 for name, created in self.created.items()]

    def a_second(self, until: Mapping[str, float]) -> float:
        """Placements a second, from the first that was posted to the last that was done."""
        return len(until) / (max(until.values()) - min(self.created.values()))


class Costs(msgspec.Struct):
    """What a system has used so far: seconds of processor time by process, requests by client, verb and resource."""

    seconds: Counter[str]
    requests: Counter[tuple[str, str, str, str]]

    def since(self, before: "Costs") -> "Costs":
        return Costs(self.seconds - before.seconds, self.requests - before.requests)

    @property
    def workers(self) -> float:
        """Seconds of processor time of all workers together."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in ("sandbox", "nats"))

    def by_form(self) -> Counter[str]:
        """Requests of workers for placements, by worker, verb and resource: no watches, nor lists that begin them, nor
        what is asked of targets for their own sake."""
        found: Counter[str] = Counter()
        for (agent, where, verb, what), count in self.requests.items():
            worker = agent.removeprefix(OURS)
            follows = verb == "watch" or (verb == "list" and worker in FOLLOWERS)
            if agent.startswith(OURS) and not follows and what not in PROBED:
                found[f"{worker}: {verb} {what} in the {where}"] += count
        return found

    def by_worker(self) -> Counter[str]:
        """The same, by worker."""
        found: Counter[str] = Counter()
        for form, count in self.by_form().items():
            found[form.partition(":")[0]] += count
        return found

    def writes(self) -> Counter[str]:
        """Those that change something on the hub or in targets, by form."""
        verbs = ("create", "update", "patch", "delete")
        return Counter({form: count for form, count in self.by_form().items() if form.split(" ")[1] in verbs})


class Bench:
    """A system that runs, a user's client of one workspace, and the administrator's of the hub."""

    def __init__(self, running: Up, user: Client, admin: Client) -> None:
        self.running = running
        self.user = user
        self.admin = admin
        self._server = urlsplit(load_kubeconfig(Path(running.place.kubeconfig)).server)

    async def deployments(self, names: Iterable[str]) -> None:
        await each(names, lambda name: self.user.create(DEPLOYMENTS, worlds.deployment(name)))

    async def place(self, names: Sequence[str], *, rate: float = 0.0, within: float = 600.0, **spec: Any) -> Times:
        """Post Placements of Deployments that are there, so many a second or (0) as fast as it goes, and wait until
        all are Ready."""
        times, wanted = Times(), set(names)
        decisions = Informer(self.user, DECISIONS, namespace=worlds.NAMESPACE, decode=decoder(Decision))
        placements = Informer(self.user, PLACEMENTS, namespace=worlds.NAMESPACE, decode=decoder(_Placement))

        async def decided() -> None:
            async for change in decisions.events():
                if change.key[1] in wanted and change.object and change.object.targets:
                    times.decided.setdefault(change.key[1], time.perf_counter())
                if len(times.decided) == len(wanted):
                    return

        async def ready() -> None:
            async for change in placements.events():
                if change.key[1] in wanted and change.object and change.object.status.phase == "Ready":
                    times.ready.setdefault(change.key[1], time.perf_counter())
                if len(times.ready) == len(wanted):
                    return

        async with decisions, placements, asyncio.TaskGroup() as tasks:
            await asyncio.gather(decisions.synced.wait(), placements.synced.wait())
            waiting = [tasks.create_task(decided()), tasks.create_task(ready())]
            await self._post(names, rate, times, spec)
            try:
                async with asyncio.timeout(within):
                    await asyncio.wait(waiting)
            except TimeoutError:
                missing = sorted(wanted - times.ready.keys())
                raise SystemExit(f"not Ready within {within:g} s: {len(missing)}, as {missing[0]}") from None
        return times

    async def _post(self, names: Sequence[str], rate: float, times: Times, spec: Mapping[str, Any]) -> None:
        first, turn = time.perf_counter(), {name: number for number, name in enumerate(names)}

        async def post(name: str) -> None:
            times.created[name] = time.perf_counter()
            await self.user.create(PLACEMENTS, worlds.placement(name, **spec))

        if not rate:
            await each(names, post)
            return
        async with asyncio.TaskGroup() as posts:
            for name in names:
                await asyncio.sleep(max(0.0, first + turn[name] / rate - time.perf_counter()))
                posts.create_task(post(name))

    async def costs(self) -> Costs:
        seconds: Counter[str] = Counter()
        for name, child in self.running.children.items():
            seconds[name.partition("-")[0]] += cpu_seconds(child.pid or 0)
        if self.running.nats and self.running.nats.pid:
            seconds["nats"] = cpu_seconds(self.running.nats.pid)
        found = await self.ask("GET", "requests")
        requests = Counter({(i["agent"], i["where"], i["verb"], i["resource"]): i["count"] for i in found["items"]})
        return Costs(seconds, requests)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Something of the sandbox's own API."""
        root = self.admin.at(f"{self._server.scheme}://{self._server.netloc}/sandbox/{path}")
        return msgspec.json.decode(await root.request(method, "", body=body))

    async def load(self, items: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Put objects into the sandbox as they are; their versions."""
        found: Sequence[str] = (await self.ask("POST", "objects", {"items": items}))["versions"]
        return found

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The buckets of the system."""
        bus, store = await connect("bench", NatsSettings(nats_url=self.running.place.nats))
        try:
            yield store
        finally:
            await bus.close()

    @asynccontextmanager
    async def targets(self) -> AsyncIterator[dict[str, Client]]:
        """Clients of the administrators of the targets."""
        async with AsyncExitStack() as stack:
            yield {
                name: await stack.enter_async_context(_client(path))
                for name, path in self.running.place.targets.items()
            }


@asynccontextmanager
async def bench(
    targets: int,
    *,
    cpu: str = "1000",
    copies: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    delay: float = 0.2,
    workspaces: Sequence[str] = (worlds.TEAM,),
) -> AsyncIterator[Bench]:
    """A system over so many equal targets, each with so many cores, with something placed already; `delay` is what
    workloads take to become ready, in seconds. The user has the last of the `workspaces`."""
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rights = {workspaces[-1]: "admin", worlds.PLATFORM: "none"}
        world = worlds.world(targets, cpu=cpu, delay=delay)
        world |= {
            "workspaces": [worlds.PLATFORM, *workspaces],
            "users": [{"name": worlds.USER, "groups": ["team"], "workspaces": rights}],
        }
        file = worlds.write_world(data / "world.yaml", world)
        plan = Plan(
            data=data / "up", world=file, copies=copies or {}, ready_within=PATIENCE, env={**NO_BOUNDS, **(env or {})}
        )
        running = await stack.enter_async_context(up(plan))
        user = await stack.enter_async_context(_client(running.place.users[worlds.USER]))
        admin = await stack.enter_async_context(_client(running.place.kubeconfig))
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
        await user.create(NAMESPACES, namespace)
        found = Bench(running, user, admin)
        warm = [f"warm-{number}" for number in range(20)]
        await found.deployments(warm)
        await found.place(warm, rate=5.0)
        yield found


def _client(path: str) -> Client:
    return Client(load_kubeconfig(Path(path)), timeout=60)


async def each(names: Iterable[str], act: Any) -> None:
    """Do something for each name, for so many at once as a busy client does."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with room:
            await act(name)

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(one(name))


def decoder(kind: type[Any]) -> Any:
    """Reads as much of an object as a type has."""
    return msgspec.json.Decoder(kind).decode


class Races:
    """Writes into a bucket: how many were tried, and how many came to nothing as another writer had been faster."""

    def __init__(self) -> None:
        self.tried = 0
        self.lost = 0

    @property
    def share(self) -> float:
        return self.lost / self.tried if self.tried else 0.0


@asynccontextmanager
async def races(url: str, bucket: Bucket[Any] = RESERVATIONS) -> AsyncIterator[Races]:
    """Those within the block, which are known after it: what a subscription hears, less what the bucket has stored."""
    client = await nats.connect(url)
    found, name = Races(), bucket_name(bucket)

    async def hear(_: Msg) -> None:
        found.tried += 1

    async def stored() -> int:
        return (await client.jetstream().stream_info(f"KV_{name}")).state.last_seq

    try:
        await client.subscribe(f"$KV.{name}.>", cb=hear)
        before = await stored()
        yield found
        await client.flush()
        found.lost = found.tried - (await stored() - before)
    finally:
        await client.close()


def cpu_seconds(pid: int) -> float:
    """Seconds that a process has computed; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def resident(pid: int) -> float:
    """Megabytes that a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

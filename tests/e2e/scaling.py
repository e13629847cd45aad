"""The autoscaler played against a running system: it reads NATS' monitoring port, and starts and stops copies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from services.cli.support.local import READY_WITHIN
from services.cli.support.system import Up
from services.registry import load
from shared.broker.nats.server import NatsServer
from shared.hub.resources import PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.errors import ApiError, Unreachable
from shared.kube.resources import DEPLOYMENTS
from shared.pipeline import topology
from tests.e2e.system import System, running_system
from tests.support import chart, worlds
from tests.support.autoscaling import SYNC, Scaling, Wanted, lag, look, path
from tests.support.ports import free_port

ACCOUNT = "$G"
SCALED = ("controller", "discovery", "policy", "scheduler", "decision", "binding", "status")
AT_ONCE = 10  # requests
PAUSE = 0.5  # seconds after which is asked again what was not answered


class Sample(msgspec.Struct, frozen=True):
    """What one look saw: the lag of each worker (of its consumer with most), and the copies that there are after it.

    `at` is in seconds of the autoscaler's clock.
    """

    at: float
    lags: Mapping[str, int]
    copies: Mapping[str, int]
    ready: int


class Autoscaler:
    """Scales the workers of a running system, one look at a time. Its clock goes on by `SYNC` with each look."""

    def __init__(self, running: Up, port: int, scalings: Mapping[str, Scaling]) -> None:
        self.scalings = scalings
        self.samples: list[Sample] = []
        self.ended: dict[str, int | None] = {}
        """Copies that it stopped, by name and number of the look, with their exit codes."""
        self._running = running
        self._url = f"http://127.0.0.1:{port}{path(ACCOUNT)}"
        self._copies = {name: [name] for name in scalings}
        self._past: dict[str, tuple[Wanted, ...]] = dict.fromkeys(scalings, ())

    @property
    def copies(self) -> dict[str, int]:
        return {name: len(each) for name, each in self._copies.items()}

    async def monitored(self) -> dict[str, Any]:
        """What the monitoring port answers KEDA."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            answer = await (await session.get(self._url)).read()
        found: dict[str, Any] = msgspec.json.decode(answer)
        return found

    async def look(self, ready: int) -> Sample:
        """Read, decide, and have started or ended what is to be; an ended copy is waited for."""
        answer, now, lags = await self.monitored(), len(self.samples) * SYNC, {}
        for name, scaling in self.scalings.items():
            consumers = topology.consumers(load(name))
            found = [lag(answer, ACCOUNT, each.stream, each.name) for each in consumers]
            there = len(self._copies[name])
            count, self._past[name] = look(scaling, there, found, now, self._past[name])
            lags[name] = max(each or 0 for each in found)
            await self._scale(name, count)
        sample = Sample(now, lags, self.copies, ready)
        self.samples.append(sample)
        return sample

    async def _scale(self, worker: str, count: int) -> None:
        copies = self._copies[worker]
        while len(copies) < count:
            name = f"{worker}-{len(copies) + 1}"
            self._running.start(name)
            copies.append(name)
        ending = copies[count:]
        del copies[count:]
        await asyncio.gather(*(self._end(name) for name in ending))

    async def _end(self, name: str) -> None:
        child = self._running.children[name]
        await child.ready(asyncio.get_running_loop().time() + READY_WITHIN)
        await child.stop()
        self.ended[f"{name} at look {len(self.samples)}"] = child.code


@asynccontextmanager
async def scaled_system(
    folder: Path, *, targets: int, most: int, fault: Mapping[str, Any]
) -> AsyncIterator[tuple[System, Autoscaler]]:
    """A system with one copy of each worker, and who scales it by the thresholds of the chart, up to so many copies.

    `fault` makes API servers answer late, so that waiting is the limit of a copy and not the processor, which all
    copies share here.
    """
    port = free_port()
    async with (
        NatsServer(folder / "nats", config={"http": f"127.0.0.1:{port}"}) as server,
        running_system(folder, worlds.world(targets), nats=server.url, workers=SCALED) as system,
    ):
        await _sandbox(system, "faults", {"kind": "latency", **fault})
        scalings = {name: msgspec.structs.replace(chart.scaling(name), least=1, most=most) for name in SCALED}
        yield system, Autoscaler(system.running, port, scalings)


async def _sandbox(system: System, what: str, body: Mapping[str, Any]) -> None:
    """Ask something of the sandbox's own API."""
    at = urlsplit(load_kubeconfig(Path(system.place.kubeconfig)).server)
    await system.admin.at(f"{at.scheme}://{at.netloc}/sandbox/{what}").request("POST", "", body=body)


async def place(system: System, name: str) -> None:
    """Ask for one application to be placed, and again where a busy machine does not answer in time."""
    for resource, obj in ((DEPLOYMENTS, worlds.deployment(name)), (PLACEMENTS, worlds.placement(name))):
        try:
            await _answered(partial(system.user.create, resource, obj))
        except ApiError as error:
            if not error.already_exists:
                raise


async def post(system: System, names: list[str]) -> None:
    """Ask for all of these to be placed, as fast as it goes."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with room:
            await place(system, name)

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(one(name))


async def ready(system: System) -> int:
    """How many Placements are Ready."""
    page = await _answered(lambda: system.user.list(PLACEMENTS, worlds.NAMESPACE))
    return sum((item.get("status") or {}).get("phase") == "Ready" for item in page.items)


async def _answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What is answered at last; the bound is the test's."""
    while True:
        try:
            return await ask()
        except Unreachable:
            await asyncio.sleep(PAUSE)


async def wave(system: System, scaler: Autoscaler, burst: int, pause: float) -> list[str]:
    """A burst that is absorbed, and one placement more at each look until added copies have ended; the names of all.

    A look every `pause` seconds. Ends when all is Ready, and each worker has its least copies again.
    """
    names = [f"burst-{number:03}" for number in range(burst)]
    posting = asyncio.create_task(post(system, names))
    while await ready(system) < burst or not posting.done():
        await scaler.look(await ready(system))
        await asyncio.sleep(pause)
    await posting
    late: list[str] = []
    while any(count > scaler.scalings[name].least for name, count in scaler.copies.items()):
        late.append(f"late-{len(late):03}")
        await place(system, late[-1])
        await scaler.look(await ready(system))
        await asyncio.sleep(pause)
    while (count := await ready(system)) < burst + len(late):
        await scaler.look(count)
        await asyncio.sleep(pause)
    return names + late

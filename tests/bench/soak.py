"""Constant load with churn, and a kill every 20 seconds: whether memory, files, streams and lag stay as they are.

    python -m tests.bench.soak --minutes 15 --picture docs/pictures/soak.svg

Two copies of each worker: the second ones are killed in turn (kill -9), and then NATS; the first ones live to the end,
and their memory and open files are what is looked at. Every second some placements are asked for and as many taken
away, of a fixed set of names. At the end everything that is asked for has to be Ready, and nothing else placed. What is
more than a quarter larger in the last third of the time than in the second, and by more than comes and goes (20 files,
5 MB, 200 entries), is said to grow. Ends with 1 where something was lost or grows. The stream of events is left out: it
keeps what was told for seven days.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import nats
from nats.errors import Error as NatsError

from services import PIPELINE
from services.registry import load
from shared.broker.dead import DEAD_LETTERS
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError, Unreachable
from shared.kube.resources import DEPLOYMENTS
from shared.pipeline import topology
from shared.pipeline.events import EVENTS_STREAM
from tests.bench.load import Bench, bench, resident
from tests.bench.machine import machine
from tests.support import worlds
from tests.support.plot import Panel, svg
from tests.support.waiting import until

TARGETS, STANDING, NAMES = 5, 100, 150
SAMPLE, BETWEEN_KILLS = 5.0, 20.0  # seconds
PAUSE = 0.2  # seconds after which is asked again what was not answered
GROWS = 1.25
SEED = 1


class Look(msgspec.Struct, frozen=True):
    """What there was at a time: of each process that lives on, and in NATS."""

    at: float
    memory: dict[str, float]
    files: dict[str, int]
    kept: int
    megabytes: float
    lag: int
    dead: int


class Soak:
    """The load on a system, and what is seen of it. `wanted` are the placements that are asked for."""

    def __init__(self, system: Bench, client: nats.NATS, rate: float) -> None:
        self.system = system
        self.looks: list[Look] = []
        self.kills: list[tuple[float, str]] = []
        self.wanted: list[str] = []
        self.free = deque(f"app-{number:03}" for number in range(NAMES))
        self.asked = 0
        self._nats = client
        self._rate = rate
        self._consumers = [each for name in PIPELINE for each in topology.consumers(load(name))]
        self._chance = random.Random(SEED)
        self._victims = itertools.cycle([*(f"{name}-2" for name in PIPELINE), "nats"])
        self._began = time.monotonic()

    async def fill(self) -> None:
        """As many placements as stand from then on; the time counts from here."""
        await self.system.deployments(self.free)
        while len(self.wanted) < STANDING:
            await self.churn()
        if lost := await self.lost():
            raise SystemExit(f"not even without kills: {lost[0]}")
        self._began = time.monotonic()

    async def last(self, seconds: float) -> None:
        """Load, kills and looks for so long."""
        end = self._began + seconds

        async def every(pause: float, act: Callable[[], Awaitable[None]]) -> None:
            while time.monotonic() < end:
                await asyncio.gather(act(), asyncio.sleep(pause))

        await asyncio.gather(
            every(1 / self._rate, self.churn), every(BETWEEN_KILLS, self.kill), every(SAMPLE, self.look)
        )

    async def churn(self) -> None:
        """Ask for one more, and have one go when there are as many as there should be."""
        name = self.free.popleft()
        if not await self._made(name):  # the one before is still being taken away
            self.free.append(name)
            return
        self.asked += 1
        self.wanted.append(name)
        if len(self.wanted) > STANDING:
            gone = self.wanted.pop(self._chance.randrange(len(self.wanted)))
            await _answered(lambda: self.system.user.delete(PLACEMENTS, gone, worlds.NAMESPACE))
            self.free.append(gone)

    async def _made(self, name: str) -> bool:
        """Whether a Placement is there that was not before; of its name one may be that is being deleted."""
        await _answered(lambda: self.system.user.create(PLACEMENTS, worlds.placement(name)))
        found = await _answered(lambda: self.system.user.get(PLACEMENTS, name, worlds.NAMESPACE))
        return bool(found) and "deletionTimestamp" not in found["metadata"]

    async def kill(self) -> None:
        victim = next(self._victims)
        server = self.system.running.nats
        if victim == "nats" and server is not None:
            server.kill()
        elif victim != "nats" and (pid := self.system.running.children[victim].pid):
            with suppress(ProcessLookupError):  # it is being started again
                os.kill(pid, signal.SIGKILL)
        self.kills.append((time.monotonic() - self._began, victim))

    async def look(self) -> None:
        """One look more; none while NATS does not answer."""
        pids = {name: child.pid for name, child in self.system.running.children.items() if not name.endswith("-2")}
        if (server := self.system.running.nats) is not None:
            pids["nats"] = server.pid
        try:
            stream = self._nats.jetstream()
            streams = await stream.streams_info()
            consumers = [await stream.consumer_info(each.stream, each.name) for each in self._consumers]
            kept = [each for each in streams if each.config.name != EVENTS_STREAM]
            there = {name: pid for name, pid in pids.items() if pid}
            self.looks.append(
                Look(
                    at=time.monotonic() - self._began,
                    memory={name.removesuffix("-1"): resident(pid) for name, pid in there.items()},
                    files={name.removesuffix("-1"): _files(pid) for name, pid in there.items()},
                    kept=sum(each.state.messages for each in kept),
                    megabytes=sum(each.state.bytes for each in kept) / 1e6,
                    lag=sum((each.num_pending or 0) + (each.num_ack_pending or 0) for each in consumers),
                    dead=sum(each.state.messages for each in streams if each.config.name == DEAD_LETTERS.name),
                )
            )
        except (NatsError, TimeoutError, OSError):
            return

    async def lost(self) -> list[str]:
        """What is not as it was asked for, once there was time for it; every target is asked."""

        async def differs() -> list[str]:
            items = (await self.system.user.list(PLACEMENTS, worlds.NAMESPACE)).items
            ready = {each["metadata"]["name"] for each in items if each.get("status", {}).get("phase") == "Ready"}
            async with self.system.targets() as targets:
                pages = [await each.list(DEPLOYMENTS, worlds.NAMESPACE) for each in targets.values()]
            placed = sorted(each["metadata"]["name"] for page in pages for each in page.items)
            wanted = sorted(name for name in (each["metadata"]["name"] for each in items))
            found = [f"{name} is not Ready" for name in wanted if name not in ready]
            found += [f"{name} is not there" for name in self.wanted if name not in wanted]
            return found + ([] if placed == wanted else [f"placed are {len(placed)}, wanted {len(wanted)}"])

        with suppress(AssertionError):
            await until(differs, holds=lambda found: not found, within=240, pause=1)
        return await differs()

    def thirds(self, figure: Callable[[Look], float]) -> tuple[float, float]:
        """The median of the second third of all looks, and of the last."""
        third = len(self.looks) // 3
        middle, end = self.looks[third : 2 * third], self.looks[-third:]
        return median(map(figure, middle)), median(map(figure, end))


async def _quiet(_: Exception) -> None:
    """That NATS is away is our own doing."""


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def _answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, asked for again where none came; None where it is that there is such a thing already, or none."""
    while True:
        try:
            return await ask()
        except Unreachable:
            await asyncio.sleep(PAUSE)
        except ApiError as error:
            if not (error.already_exists or error.not_found):
                raise
            return None


def report(soak: Soak) -> list[str]:
    """Prints all figures; those that grow, by more than what comes and goes."""
    names = list(soak.looks[-1].memory)
    found = []
    figures: list[tuple[str, float, Callable[[Look], float]]] = [
        *((f"memory of {name}, MB", 5, lambda look, name=name: look.memory.get(name, 0)) for name in names),
        *((f"open files of {name}", 20, lambda look, name=name: look.files.get(name, 0)) for name in names),
        ("messages and entries in NATS, but for events", 200, lambda look: look.kept),
        ("MB in NATS, but for events", 1, lambda look: look.megabytes),
        ("lag", 50, lambda look: look.lag),
    ]
    for title, comes_and_goes, figure in figures:
        before, after = soak.thirds(figure)
        growing = after > GROWS * before + comes_and_goes
        print(f"  {title}: {before:.4g}, later {after:.4g}{' GROWS' if growing else ''}")
        if growing:
            found.append(title)
    return found


def picture(soak: Soak) -> str:
    looks, names = soak.looks, list(soak.looks[-1].memory)

    def line(figure: Callable[[Look], float]) -> list[tuple[float, float]]:
        return [(each.at, figure(each)) for each in looks]

    return svg(
        f"{soak.asked} placements asked for, all but {len(soak.wanted)} of them taken away, {len(soak.kills)} kills",
        [
            Panel("MB in memory", {n: line(lambda look, n=n: look.memory.get(n, 0)) for n in names}),
            Panel("open files", {n: line(lambda look, n=n: look.files.get(n, 0)) for n in names}),
            Panel("messages and entries in NATS, but for events", {"NATS": line(lambda look: look.kept)}),
            Panel("MB in NATS, but for events", {"NATS": line(lambda look: look.megabytes)}),
            Panel("messages that wait or are in hand", {"lag": line(lambda look: look.lag)}),
        ],
        "seconds",
    )


async def run(minutes: float, rate: float, file: Path | None) -> int:
    print(f"machine: {machine()}", flush=True)
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(bench(TARGETS, copies=dict.fromkeys(PIPELINE, 2)))
        client = await nats.connect(system.running.place.nats, max_reconnect_attempts=-1, error_cb=_quiet)
        stack.push_async_callback(client.close)
        soak = Soak(system, client, rate)
        await soak.fill()
        await soak.last(60 * minutes)
        await soak.look()
        lost = await soak.lost()
        print(f"{minutes:g} minutes, {rate:g} placements a second: {soak.asked} asked for, {len(soak.kills)} kills")
        growing = report(soak)
        print(f"  dead letters: {soak.looks[-1].dead}; lost or left: {lost or 'nothing'}")
    if file:
        _write(file, picture(soak))
    return 1 if lost or growing else 0


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=float, default=2, help="placements a second (default: 2)")
    parser.add_argument("--picture", type=Path, help="the SVG file to write")
    args = parser.parse_args()
    sys.exit(asyncio.run(run(args.minutes, args.rate, args.picture)))


if __name__ == "__main__":
    main()

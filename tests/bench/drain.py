"""A target with many placements is drained: how long the plan takes, and what moving all of them costs.

    python -m tests.bench.drain [--placements 1000]

The whole pipeline in one process, on NATS, over the sandbox's three clusters. All placements go to the first, which is
closed to none of them; then `moorage cluster drain --dry-run` is asked where they would go, and the cluster is drained;
then all are deleted. Counted are requests of the workers, watches left out, messages and writes of buckets: for
placing, for moving (make before break: placing elsewhere and removing here), and for removing. What moving costs over
placing and removing is what no machine changes; how long it takes is only told.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.cli.cluster.hub import ClusterHub
from services.cli.cluster.moves import moves
from shared.broker.nats.server import NatsServer
from shared.hub.hub import Hub
from shared.hub.names import DRAIN_TAINT
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.errors import Unreachable
from tests.bench.machine import machine
from tests.support import waiting, worlds
from tests.support.budget import NO_PROBES
from tests.support.counting import KINDS, Happened, Meter, metered
from tests.support.together import Together, together

FIRST = "cluster-000"
WITHIN = 3600.0
AT_ONCE = 10


async def phase(meter: Meter, title: str, number: int, act: Callable[[], Awaitable[object]]) -> Happened:
    """What happens while something is done for all; how long it takes is told."""
    began, busy = time.monotonic(), time.process_time()
    found = await meter.during(act)
    took, cpu = time.monotonic() - began, time.process_time() - busy
    sums = {kind: sum(count for (each, _), count in found.items() if each == kind) / number for kind in KINDS}
    said = ", ".join(f"{count:.2f} {kind}" for kind, count in sums.items())
    print(f"{title}: {took:.1f} s, {1000 * cpu / number:.1f} ms of processor each; for each {said}", flush=True)
    return found


async def run(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder) / "nats") as server:
            world = worlds.world(3, cpu="10000", delay=0.1)
            async with (
                together(Path(folder) / "world", world, pace=NO_PROBES, nats=server.url) as system,
                metered(system.sandbox.tally, server.url) as meter,
            ):
                await measured(system, meter, number)


class Bench:
    """What is done for all placements, and until it is done."""

    def __init__(self, system: Together, number: int) -> None:
        self.system = system
        self.names = [f"app-{each:04}" for each in range(number)]
        self.platform = system.admin.cluster(worlds.PLATFORM)

    async def close(self, closed: bool) -> None:
        """Have all clusters but the first take nothing new, or take it again."""
        for name in set(self.system.targets) - {FIRST}:
            await self.platform.merge_patch(SYNCTARGETS, name, {"spec": {"unschedulable": closed}})

    async def place(self) -> None:
        await self._each(lambda name: self.system.place(name, worlds.deployment(name)))
        await _all_are(self._ready, len(self.names), "all are Ready")

    async def drain(self) -> None:
        taint = {"key": DRAIN_TAINT, "effect": "NoExecute"}
        await self.platform.merge_patch(SYNCTARGETS, FIRST, {"spec": {"unschedulable": True, "taints": [taint]}})

        async def here() -> int:
            return sum(each["spec"]["target"]["name"] == FIRST for each in await self.system.bindings())

        await _all_are(here, 0, "the first is empty")
        await _all_are(self._ready, len(self.names), "all are Ready")

    async def remove(self) -> None:
        await self._each(lambda name: self.system.user.delete(PLACEMENTS, name, worlds.NAMESPACE))

        async def left() -> int:
            return len(await self.system.bindings())

        await _all_are(left, 0, "nothing is left")

    async def _ready(self) -> int:
        items = (await self.system.user.list(PLACEMENTS, worlds.NAMESPACE)).items
        return sum((each.get("status") or {}).get("phase") == "Ready" for each in items)

    async def _each(self, act: Callable[[str], Awaitable[object]]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> None:
            async with slots:
                await act(name)

        await asyncio.gather(*map(one, self.names))


async def _all_are(look: Callable[[], Awaitable[int]], count: int, what: str) -> None:
    async def patiently() -> int:
        try:
            return await look()
        except Unreachable:  # one process does all of it, and is busy
            return -1

    await waiting.until(patiently, what, holds=lambda found: found == count, within=WITHIN, pause=2.0)


async def measured(system: Together, meter: Meter, number: int) -> None:
    bench = Bench(system, number)
    await bench.close(True)
    await meter.quiet()
    placing = await phase(meter, f"placing {number}", number, bench.place)
    await bench.close(False)
    await meter.quiet()
    hub = ClusterHub(Hub(system.admin, "kcp"), worlds.PLATFORM)
    there = await hub.placed(hub.id(FIRST))
    began, busy = time.monotonic(), time.process_time()
    plan = await moves(hub, FIRST, there)
    took, cpu = time.monotonic() - began, time.process_time() - busy
    go = sum(not each.stays for each in plan)
    print(f"the plan for {len(plan)}, {go} of which move: {took:.2f} s, {cpu:.2f} s of processor", flush=True)
    moving = await phase(meter, f"moving {number}", number, bench.drain)
    removing = await phase(meter, f"removing {number}", number, bench.remove)
    for kind in KINDS:
        both = placing + removing
        plain, moved = (sum(count for (each, _), count in some.items() if each == kind) for some in (both, moving))
        print(f"{kind}: moving costs {moved / max(plain, 1):.2f} times what placing and removing do")
    for kind, name in sorted(set(placing) | set(moving) | set(removing)):
        counts = [some[kind, name] / number for some in (placing, moving, removing)]
        print(f"  {kind:9} {name:60} " + " ".join(f"{each:8.2f}" for each in counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placements", type=int, default=1000)
    number = parser.parse_args().placements
    print(machine())
    asyncio.run(run(number))


if __name__ == "__main__":
    main()

"""From a Placement's creation to its PlacementDecision: real NATS, real HTTP, every worker a process.

    python -m tests.bench.pipeline --targets 100 --placements 300 --rate 20

The time runs from the moment before the Placement is posted to the moment when a watch delivers its PlacementDecision
with a selection in it.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

from services.cli.support.plan import Plan
from services.cli.support.system import up
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.informer import Informer
from shared.kube.resources import DEPLOYMENTS, NAMESPACES
from tests.bench.machine import machine, spread
from tests.support import worlds

WARM_UP = 20


async def bench(targets: int, placements: int, rate: float, data: Path) -> None:
    file = worlds.write_world(data / "world.yaml", worlds.world(targets))
    plan = Plan(data=data / "up", world=file)
    async with up(plan) as running:
        user = load_kubeconfig(Path(running.place.users[worlds.USER]))
        async with Client(user) as client, Informer(client, DECISIONS, namespace=worlds.NAMESPACE) as decisions:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
            await client.create(NAMESPACES, namespace)
            await decisions.synced.wait()
            await _run(client, decisions, [f"warm-{n}" for n in range(WARM_UP)], rate=2.0)
            started = time.perf_counter()
            times = await _run(client, decisions, [f"app-{n}" for n in range(placements)], rate)
            took = time.perf_counter() - started
        print(f"machine: {machine()}")
        print(f"{targets} targets, {placements} placements at {rate:g}/s, took {took:.1f} s")
        print(f"created to decided: {spread(times)}")
        for name, pid in running.place.pids.items():
            print(f"  {name:<12} {_memory(pid):6.1f} MB resident, {_cpu(pid):6.2f} s of CPU")


async def _run(client: Client, decisions: Informer, names: list[str], rate: float) -> list[float]:
    """Create a placement every 1/rate seconds; the milliseconds that each took."""
    created: dict[str, float] = {}
    decided: dict[str, float] = {}
    wanted = set(names)

    async def watch() -> None:
        async for change in decisions.events():
            name = change.key[1]
            status = (change.object or {}).get("status") or {}
            if name in wanted and name not in decided and status.get("selected"):
                decided[name] = time.perf_counter()
                if len(decided) == len(wanted):
                    return

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client.create(DEPLOYMENTS, worlds.deployment(name)) for name in names))
    first = time.perf_counter()
    posts = []
    for number, name in enumerate(names):
        await asyncio.sleep(max(0.0, first + number / rate - time.perf_counter()))
        created[name] = time.perf_counter()
        posts.append(asyncio.create_task(client.create(PLACEMENTS, worlds.placement(name))))
    await asyncio.gather(*posts)
    async with asyncio.timeout(120):
        await watching
    return [(decided[name] - created[name]) * 1000 for name in names]


def _memory(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--placements", type=int, default=300)
    parser.add_argument("--rate", type=float, default=20.0, help="placements a second")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(args.targets, args.placements, args.rate, Path(folder)))


if __name__ == "__main__":
    main()

"""How long another workspace's one placement waits behind a burst: real NATS, real HTTP, every worker a process.

    python -m tests.bench.fairness --burst 500

All placements of one workspace are posted at once, then one of another. The time runs from the moment before that is
posted to the moment when a watch delivers its PlacementDecision with a selection in it.
"""

import argparse
import asyncio
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
from tests.bench.machine import machine
from tests.support import worlds

BURST, OTHER = "root:burst", "root:other"
AT_ONCE = 50  # requests


async def bench(targets: int, burst: int, data: Path) -> None:
    world = worlds.world(targets)
    world["workspaces"] += [BURST, OTHER]
    for path in (BURST, OTHER):
        rights = {path: "admin", worlds.PLATFORM: "none"}
        world["users"].append({"name": path.rpartition(":")[2], "groups": ["team"], "workspaces": rights})
    plan = Plan(data=data / "up", world=worlds.write_world(data / "world.yaml", world))
    async with up(plan) as running:
        users = {path: load_kubeconfig(Path(running.place.users[path.rpartition(":")[2]])) for path in (BURST, OTHER)}
        async with Client(users[BURST]) as theirs, Client(users[OTHER]) as ours:
            await _prepare(theirs, [f"app-{n}" for n in range(burst)])
            await _prepare(ours, ["warm", "app"])
            await _decided(ours, ["warm"], time.perf_counter())
            began = time.perf_counter()
            everything = asyncio.create_task(_decided(theirs, [f"app-{n}" for n in range(burst)], began))
            await asyncio.sleep(1.0)  # the burst is on its way
            waited = await _decided(ours, ["app"], time.perf_counter())
            print(f"machine: {machine()}")
            print(f"behind {burst} of another workspace, one was decided after {waited:.1f} s")
            print(f"the burst itself was decided after {await everything:.1f} s", flush=True)


async def _prepare(client: Client, names: list[str]) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
    await client.create(NAMESPACES, namespace)
    room = asyncio.Semaphore(AT_ONCE)

    async def create(name: str) -> None:
        async with room:
            await client.create(DEPLOYMENTS, worlds.deployment(name))

    await asyncio.gather(*(create(name) for name in names))


async def _decided(client: Client, names: list[str], began: float) -> float:
    """Post placements, and wait until all are decided; seconds since `began`."""
    wanted, room = set(names), asyncio.Semaphore(AT_ONCE)

    async def create(name: str) -> None:
        async with room:
            await client.create(PLACEMENTS, worlds.placement(name))

    async with Informer(client, DECISIONS, namespace=worlds.NAMESPACE) as decisions:
        await decisions.synced.wait()
        posts = [asyncio.create_task(create(name)) for name in names]
        async for change in decisions.events():
            if ((change.object or {}).get("status") or {}).get("selected"):
                wanted.discard(change.key[1])
            if not wanted:
                break
        await asyncio.gather(*posts)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--burst", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(args.targets, args.burst, Path(folder)))


if __name__ == "__main__":
    main()

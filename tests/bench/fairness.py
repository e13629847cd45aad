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
from tests.bench.load import NO_BOUNDS, Decision, decoder, each
from tests.bench.machine import machine
from tests.support import worlds

BURST, OTHER = "root:burst", "root:other"


async def bench(targets: int, burst: int, data: Path) -> None:
    world = worlds.world(targets)
    world["workspaces"] += [BURST, OTHER]
    for path in (BURST, OTHER):
        rights = {path: "admin", worlds.PLATFORM: "none"}
        world["users"].append({"name": path.rpartition(":")[2], "groups": ["team"], "workspaces": rights})
    plan = Plan(data=data / "up", world=worlds.write_world(data / "world.yaml", world), env=NO_BOUNDS)
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
    await each(names, lambda name: client.create(DEPLOYMENTS, worlds.deployment(name)))


async def _decided(client: Client, names: list[str], began: float) -> float:
    """Post placements, and wait until all are decided; seconds since `began`."""
    wanted = set(names)
    async with Informer(client, DECISIONS, namespace=worlds.NAMESPACE, decode=decoder(Decision)) as decisions:
        await decisions.synced.wait()
        posting = asyncio.create_task(each(names, lambda name: client.create(PLACEMENTS, worlds.placement(name))))
        async for change in decisions.events():
            if change.object and change.object.targets:
                wanted.discard(change.key[1])
            if not wanted:
                break
        await posting
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

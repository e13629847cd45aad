"""One Placement of many objects to many targets: how long until they are applied everywhere, and until it is Ready.

    python -m tests.bench.wide --targets 100 --objects 10

Applied counts by the requests that the sandbox had from binding: one server-side apply for each object and target.
"""

import argparse
import asyncio
import time

from shared.kube.resources import DEPLOYMENTS
from tests.bench.load import Bench, bench
from tests.bench.machine import machine

LOOK_EVERY = 0.05  # seconds


async def run(targets: int, objects: int) -> None:
    async with bench(targets) as system:
        print(f"machine: {machine()}")
        names = [f"part-{number}" for number in range(objects)]
        await system.deployments(names)
        before = await system.costs()
        wanted = {
            "workload": [{"apiVersion": "apps/v1", "kind": DEPLOYMENTS.kind, "name": name} for name in names],
            "targets": {"count": {"min": targets}},
        }
        began = time.perf_counter()
        applied = asyncio.create_task(_applied(system, await _patches(system), targets * objects))
        times = await system.place(["wide"], **wanted)
        costs = (await system.costs()).since(before)
        moments = {"decided": times.decided, "applied everywhere": {"wide": await applied}, "Ready": times.ready}
        listed = ", ".join(f"{what} after {found['wide'] - began:.2f} s" for what, found in moments.items())
        print(f"{objects} objects to {targets} targets: {listed}")
        requests = costs.by_worker()
        listed = ", ".join(f"{name} {count}" for name, count in requests.most_common())
        print(f"  {sum(requests.values()) / targets:.1f} requests for each target ({listed})")


async def _patches(system: Bench) -> int:
    """Applies of Deployments in targets so far."""
    return (await system.costs()).requests["moorage-binding", "target", "patch", "deployments"]


async def _applied(system: Bench, before: int, wanted: int) -> float:
    """The moment when so many more are applied."""
    while await _patches(system) - before < wanted:  # noqa: ASYNC110 - the sandbox tells who asks
        await asyncio.sleep(LOOK_EVERY)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--objects", type=int, default=10)
    args = parser.parse_args()
    asyncio.run(run(args.targets, args.objects))


if __name__ == "__main__":
    main()

"""From a Placement's creation to its PlacementDecision, and until it is Ready, one after the other.

    python -m tests.bench.pipeline --targets 100 --placements 300 --rate 10

What the sandbox's workloads take to become ready is part of the time until Ready, and none of ours: `--take` says it.

Real NATS, real HTTPS, every worker a process (`tests/bench/load.py`).
"""

import argparse
import asyncio
import time

from tests.bench.load import bench, resident
from tests.bench.machine import machine, spread


async def run(targets: int, placements: int, rate: float, take: float) -> None:
    async with bench(targets, delay=take) as system:
        names = [f"app-{number}" for number in range(placements)]
        await system.deployments(names)
        before, started = await system.costs(), time.perf_counter()
        times = await system.place(names, rate=rate)
        took, costs = time.perf_counter() - started, (await system.costs()).since(before)
        print(f"machine: {machine()}")
        print(f"{targets} targets, {placements} placements at {rate:g}/s, took {took:.1f} s; workloads take {take:g} s")
        print(f"created to decided: {spread(times.milliseconds(times.decided))}")
        print(f"created to Ready:   {spread(times.milliseconds(times.ready))}")
        for name, pid in system.running.place.pids.items():
            print(f"  {name:<12} {resident(pid):6.1f} MB resident, {costs.seconds[name]:6.2f} s of CPU")
        workers, sandbox = (1000 * each / placements for each in (costs.workers, costs.seconds["sandbox"]))
        print(f"processor time of each placement: workers {workers:.1f} ms, sandbox {sandbox:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--placements", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10.0, help="placements a second")
    parser.add_argument("--take", type=float, default=0.1, help="seconds until a workload of the sandbox is ready")
    args = parser.parse_args()
    asyncio.run(run(args.targets, args.placements, args.rate, args.take))


if __name__ == "__main__":
    main()

"""How fast reservations are written, and how many races for a target are lost: real NATS, a process per copy.

    python -m tests.bench.ledger --copies 4 --placements 1000 --targets 100

Each copy reserves its share of the placements, 32 at a time, as decision does; on one target, and dealt out over all.
"""

import argparse
import asyncio
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from services.decision.book import Crowded
from services.decision.ledger import Ledger
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.target import Target
from shared.pipeline.buckets import RESERVATIONS
from tests.bench.machine import machine

AT_ONCE = 32
READY_WITHIN = 30.0  # seconds


async def copy(url: str, number: int, placements: int, targets: int) -> dict[str, float]:
    """One copy's share: how long it took, what it cost, what it lost."""
    client = await NatsClient.connect(url, name="bench")
    table = Table(NatsStore(client), RESERVATIONS)
    view = table.follow()
    ledger = Ledger(table, view)
    following = [asyncio.create_task(view.run()), asyncio.create_task(ledger.follow())]
    await view.synced.wait()
    room, crowded = asyncio.Semaphore(AT_ONCE), 0

    async def reserve(each: int) -> None:
        nonlocal crowded
        target = Target(workspace=f"root:t{targets}", name=str(each % targets), ready=True, allocatable={"cpu": 1e6})
        placement = PlacementRef(workspace="root:team", namespace="apps", name=f"app-{number}-{each}")
        wanted = Reservation(
            placement=placement, head=Head(uid="u", generation=1, attempt=1), resources={"cpu": 0.1, "pods": 0.0}
        )
        async with room:
            while True:
                try:
                    assert await ledger.reserve(target, wanted)
                except Crowded:
                    crowded += 1
                    await asyncio.sleep(0.2)
                else:
                    return

    order = random.Random(number).sample(range(placements), placements)
    print("ready", flush=True)
    sys.stdin.readline()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.gather(*(reserve(each) for each in order))
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    for each in following:
        each.cancel()
    await client.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"took": took, "cpu": cpu, "lost": ledger.lost, "crowded": crowded}


async def bench(copies: int, placements: int, targets: int, data: Path) -> None:
    async with NatsServer(data) as server:
        client = await NatsClient.connect(server.url, name="bench")
        await NatsStore(client).provision((RESERVATIONS,))
        for among in (1, targets):
            share = placements // copies
            command = ["-m", "tests.bench.ledger", "--url", server.url, "--targets", str(among)]
            processes = [
                await asyncio.create_subprocess_exec(
                    *(sys.executable, *command, "--number", str(number), "--placements", str(share)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                for number in range(copies)
            ]
            for process in processes:  # all begin together, when the last is ready
                assert process.stdout is not None
                async with asyncio.timeout(READY_WITHIN):
                    assert await process.stdout.readline() == b"ready\n"
            answers = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
            found = [json.loads(out) for out, _ in answers]
            took, count = max(each["took"] for each in found), share * copies
            lost, crowded = (sum(each[what] for each in found) for what in ("lost", "crowded"))
            print(
                f"{copies} copies, {count} placements on {among} targets: {count / took:.0f}/s,"
                f" {sum(each['cpu'] for each in found) / count * 1000:.2f} ms of CPU each,"
                f" {lost:.0f} races lost ({lost / count:.1%}), {crowded:.0f} times no turn",
                flush=True,
            )
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--placements", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.url:
        print(json.dumps(asyncio.run(copy(args.url, args.number, args.placements, args.targets))))
        return
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(args.copies, args.placements, args.targets, Path(folder)))


if __name__ == "__main__":
    main()

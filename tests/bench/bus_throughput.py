"""How fast a chain of six stages is: six processes that each take a message, publish the next one and acknowledge.

    python -m tests.bench.bus_throughput --messages 10000

Prints messages a second through the whole chain, the processor time that one step costs (which says more where the
machine has other work as well), and the latency of single messages through an idle chain.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from shared.broker.bus import Consumer, Delivery, Stream
from shared.broker.dead import DEAD_STREAM
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from tests.bench.machine import machine

STAGES = 6
STREAM = Stream(
    name="BENCH", subjects=("moorage.bench.>",), description="A chain of stages", last_per_subject=True, max_age=3600.0
)
DEAD = Stream(name=DEAD_STREAM, subjects=("moorage.dead.>",), description="Parked messages")
PAYLOAD = b"x" * 1000
SINGLES = 200


def consumer(stage: int) -> Consumer:
    """Of a stage, or (number `STAGES`) of what comes out at the end."""
    return Consumer(
        name=f"stage{stage}", stream=STREAM.name, subject=f"moorage.bench.{stage}.*", concurrency=256, ack_wait=60.0
    )


async def work(url: str, stage: int) -> None:
    bus = await NatsBus.connect(url, name=f"stage{stage}")

    async def handle(delivery: Delivery) -> None:
        key = delivery.subject.rpartition(".")[2]
        await bus.publish(f"moorage.bench.{stage + 1}.{key}", delivery.payload, id=f"{stage + 1}:{key}")

    await bus.consume(consumer(stage), handle)
    await asyncio.Event().wait()


def run_stage(url: str, stage: int) -> None:
    import uvloop

    uvloop.run(work(url, stage))


def processor_time(stages: list[psutil.Process]) -> float:
    """Seconds that these processes have computed."""
    return sum(times.user + times.system for times in (stage.cpu_times() for stage in stages))


class Figures(NamedTuple):
    """Messages a second, seconds of processor time per step, and the seconds that each single message took."""

    throughput: float
    step: float
    singles: list[float]


async def measure(url: str, number: int, stages: list[psutil.Process]) -> Figures:
    bus = await NatsBus.connect(url, name="bench")
    arrivals: asyncio.Queue[str] = asyncio.Queue()

    async def arrive(delivery: Delivery) -> None:
        arrivals.put_nowait(delivery.subject.rpartition(".")[2])

    await bus.consume(consumer(STAGES), arrive)

    async def through(key: str) -> float:
        start = time.perf_counter()
        await bus.publish(f"moorage.bench.0.{key}", PAYLOAD, id=f"0:{key}")
        await arrivals.get()
        return time.perf_counter() - start

    await through("warm")
    singles = [await through(f"single{n}") for n in range(SINGLES)]
    start, computed = time.perf_counter(), processor_time(stages)
    publishing = asyncio.gather(*(bus.publish(f"moorage.bench.0.{n}", PAYLOAD, id=f"0:{n}") for n in range(number)))
    arrived = {await arrivals.get() for _ in range(number)}
    elapsed, computed = time.perf_counter() - start, processor_time(stages) - computed
    await publishing
    if len(arrived) != number:
        raise SystemExit(f"{number - len(arrived)} of {number} messages were lost or doubled")
    await bus.close()
    return Figures(number / elapsed, computed / number / STAGES, singles)


async def run(number: int) -> Figures:
    """So many messages through a chain over a NATS server of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with NatsServer(Path(directory)) as server:
            bus = await NatsBus.connect(server.url, name="admin")
            await bus.provision((STREAM, DEAD), tuple(consumer(stage) for stage in range(STAGES + 1)))
            await bus.close()
            context = multiprocessing.get_context("spawn")
            stages = [context.Process(target=run_stage, args=(server.url, n), daemon=True) for n in range(STAGES)]
            for stage in stages:
                stage.start()
            observed = [psutil.Process(stage.pid) for stage in stages]
            figures = await measure(server.url, number, observed)
            for stage in stages:
                stage.terminate()
                stage.join()
    return figures


async def main(number: int) -> None:
    throughput, step, singles = await run(number)
    quantiles = statistics.quantiles(singles, n=100)
    print(f"machine: {machine()}")
    print(f"throughput  {throughput:,.0f} messages/s through all {STAGES} stages ({number:,} of {len(PAYLOAD)} B)")
    print(f"cost        {step * 1e6:.0f} µs of processor time per message and stage")
    print(f"latency     p50 {quantiles[49] * 1e3:.1f} ms  p99 {quantiles[98] * 1e3:.1f} ms (one message at a time)")


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="messages through the chain (default: 10000)")
    uvloop.run(main(parser.parse_args().messages))

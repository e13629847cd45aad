"""What an event costs: the processor time of deriving, writing and publishing it, in the worker that tells it.

    python -m tests.bench.events --events 5000

Prints microseconds of this process per event, on a nats-server of its own, beside a plain publication of as many bytes.
A consumer that reads nothing is there all the time; it must not slow anybody.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.model.decision import Choice
from shared.model.refs import Head, PlacementRef
from shared.pipeline import topology
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT, derive
from shared.pipeline.messages import Decided
from shared.pipeline.teller import Teller
from tests.bench.machine import machine

AT_ONCE = 64
TURNS = 10
HEADERS = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}


def decided(number: int) -> Decided:
    """A decision for four targets."""
    return Decided(
        placement=PlacementRef(workspace="root:bench", namespace="n", name=f"p{number}"),
        head=Head(uid=f"u{number}", generation=1, attempt=1),
        selected=tuple(Choice(target=f"root:platform/cluster-{each}", score=50.0, replicas=2) for each in range(4)),
        considered=100,
        decided_at="2026-01-01T00:00:00.000000Z",
    )


async def measure(first: int, number: int, act: Callable[[int], Awaitable[object]]) -> float:
    """Microseconds of processor time of this process for each."""
    before = time.process_time()
    for begin in range(first, first + number, AT_ONCE):
        await asyncio.gather(*(act(each) for each in range(begin, min(begin + AT_ONCE, first + number))))
    return (time.process_time() - before) / number * 1e6


async def bench(events: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder)) as server:
            bus = await NatsBus.connect(server.url, name="bench")
            await bus.provision(topology.streams(), ())
            lagging = {"name": "lagging", "durable_name": "lagging", "ack_policy": "explicit"}
            await bus.client.api(
                f"CONSUMER.CREATE.{EVENTS_STREAM}.lagging", {"stream_name": EVENTS_STREAM, "config": lagging}
            )
            teller = Teller(bus)
            messages = [decided(number) for number in range(events)]
            size = len(derive(messages[0])[0].encoded(HEADERS))

            async def tell(number: int) -> None:
                for event in derive(messages[number]):
                    await teller.tell(event, HEADERS)

            async def publish(number: int) -> None:
                await bus.publish(f"{EVENTS_SUBJECT}.bench.n.p{number}.plain", b"x" * size, id=f"plain{number}")

            turns = range(0, events, events // TURNS)
            found = [
                (await measure(begin, events // TURNS, publish), await measure(begin, events // TURNS, tell))
                for begin in turns
            ]
            plain, told = (statistics.median(each) for each in zip(*found, strict=True))
            print(machine())
            print(f"{events} events of {size} bytes: {told:.0f} µs each; plain publications: {plain:.0f} µs")
            await bus.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5000)
    arguments = parser.parse_args()
    import uvloop

    uvloop.run(bench(arguments.events))


if __name__ == "__main__":
    main()

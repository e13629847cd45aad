"""`decide` over the bus: how many a second, how long one takes, and raw request and reply on the same NATS beside it.

    python -m tests.bench.decide --targets 100 --questions 2000 --rate 10 --seconds 20
    python -m tests.bench.decide --targets 10000 --questions 400

Real NATS, every worker a process (`tests/bench/load.py`). First so many questions at once as `--at-once` says, then one
after the other at a steady rate. The raw figure is of a process that answers each question with bytes of the same size.
Questions are written before the clock runs, and of the answers no more is read than whether they are such.

Of more than a thousand targets, twenty are clusters of the sandbox. The others are written into the bucket
`inventory` as discovery would, after those that are there: whoever answers takes them for targets, and nobody looks at
them. Discovery would take them out again at its next walk over the workspaces, which is put off for that. Who asks may
use all of them by one right: where each is allowed by its name, each is asked about, every ten seconds.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import msgspec
import nats
import uvloop
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.broker.store import Store
from shared.broker.table import Table
from shared.cloudevents import CloudEvent, structured
from shared.hub.hub import Hub
from shared.model.answer import DecisionAnswer
from shared.model.asking import request_type
from shared.model.refs import TargetRef
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.requests import RequestSubject
from tests.bench.load import bench
from tests.bench.machine import machine, spread
from tests.support import worlds
from tests.support.grants import USING, grant

WITHIN = 30.0  # seconds for one answer
RAW = "bench.echo"
MOST_REAL, REAL = 1000, 20
"""Targets up to which all are clusters of the sandbox, and how many are of more."""
AT_ONCE = 100  # entries that are written together
SEEN_WITHIN = 180.0  # seconds

Ask = Callable[[], Awaitable[bytes]]


class NotAnsweredError(Exception):
    """A question has another answer than what would be decided."""


class _Answer(msgspec.Struct):
    """As much of an answer as is looked at."""

    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


_READ = msgspec.json.Decoder(_Answer)


async def stand(store: Store, wanted: int) -> None:
    """Have so many targets in the inventory."""
    table = Table(store, INVENTORY)
    there = [entry.value for entry in await table.entries()]
    for first in range(len(there), wanted, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, wanted))
        await asyncio.gather(*(_write(table, there[number % len(there)], number) for number in numbers))


async def _write(table: Table[Target], like: Target, number: int) -> None:
    labels = {**like.labels, "number": str(number)}
    target = replace(like, name=f"standing-{number:05}", uid=str(uuid4()), cluster=str(uuid4()), labels=labels)
    await table.put(TargetRef.of(target).key, target)


async def seen(ask: Ask, wanted: int) -> None:
    """Wait until so many targets are considered for a question."""
    async with asyncio.timeout(SEEN_WITHIN):
        while (found := await _considered(ask)) < wanted:
            print(f"{found} of {wanted} targets are considered so far")
            await asyncio.sleep(1.0)


async def _considered(ask: Ask) -> int:
    try:
        answer = await ask()
    except NotAnsweredError as error:  # workers take in what is new
        print(error)
        return 0
    return msgspec.json.decode(_READ.decode(answer).data, type=DecisionAnswer).considered


def question(number: int) -> bytes:
    """A Placement and its Deployment that nobody has."""
    name = f"asked-{number}"
    data = {"placement": worlds.placement(name), "objects": [worlds.deployment(name)]}
    event = CloudEvent(id=name, source="/bench", type=request_type("decide"), data=msgspec.json.encode(data))
    return structured(event)


async def saturated(ask: Ask, questions: int, at_once: int) -> float:
    """Answers a second while so many questions are open."""
    left = itertools.count()

    async def client() -> None:
        while next(left) < questions:
            await ask()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return questions / (time.perf_counter() - started)


async def steady(ask: Ask, rate: float, seconds: float) -> list[float]:
    """Milliseconds that each question took, so many a second asked whether others are answered or not."""
    took: list[float] = []

    async def timed() -> None:
        started = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - started) * 1000)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(int(rate * seconds)):
            tasks.create_task(timed())
            await asyncio.sleep(1 / rate)
    return took


def echo(url: str, size: int) -> None:
    """A process that answers with so many bytes."""

    async def run() -> None:
        client = await nats.connect(url)
        answer = b"x" * size

        async def reply(message: Msg) -> None:
            await message.respond(answer)

        await client.subscribe(RAW, cb=reply)
        await asyncio.Event().wait()

    uvloop.run(run())


def asking(client: Client, subject: str, questions: int = 100) -> Ask:
    """Asks one of so many questions after the other."""
    written = itertools.cycle([question(number) for number in range(questions)])

    async def ask() -> bytes:
        answer = await client.request(subject, next(written), timeout=WITHIN)
        if not _READ.decode(answer.data).type.startswith("io.moorage.placement.answered"):
            raise NotAnsweredError(f"no decision: {answer.data[:500]!r}")
        return bytes(answer.data)

    return ask


async def run(targets: int, questions: int, at_once: int, rate: float, seconds: float) -> None:
    async with bench(
        targets if targets <= MOST_REAL else REAL, env={"MOORAGE_REWALK_INTERVAL_SECONDS": "3600"}
    ) as system:
        client = await nats.connect(system.running.place.nats)
        ask = asking(client, RequestSubject(worlds.TEAM, worlds.USER, "decide").subject, questions)
        if targets > MOST_REAL:
            await grant(Hub(system.admin, "kcp").at(worlds.PLATFORM), worlds.USER, USING)
            async with system.store() as store:
                await stand(store, targets)
        await seen(ask, targets)
        size = len(await ask())
        await steady(ask, 5.0, 4.0)  # caches are as they are at work
        print(f"machine: {machine()}")
        print(f"{targets} targets, an answer has {size} bytes")
        before, own = await system.costs(), time.process_time()
        print(f"decide, {at_once} at once: {await saturated(ask, questions, at_once):.0f}/s")
        own, costs = time.process_time() - own, (await system.costs()).since(before)
        for name, used in costs.seconds.items():
            print(f"  {name:<12} {1000 * used / questions:6.2f} ms of CPU each")
        print(f"  {'who asks':<12} {1000 * own / questions:6.2f} ms of CPU each")
        print(f"decide, {rate:g}/s: {spread(await steady(ask, rate, seconds))}")
        await _beside(client, system.running.place.nats, size, questions, at_once, rate, seconds)
        await client.close()


async def _beside(
    client: Client, url: str, size: int, questions: int, at_once: int, rate: float, seconds: float
) -> None:
    """The same with raw request and reply."""
    other = multiprocessing.get_context("spawn").Process(target=echo, args=(url, size), daemon=True)
    other.start()
    asked = question(0)

    async def raw() -> bytes:
        return bytes((await client.request(RAW, asked, timeout=WITHIN)).data)

    while True:
        try:
            await raw()
            break
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.1)
    print(f"raw request and reply, {at_once} at once: {await saturated(raw, questions, at_once):.0f}/s")
    print(f"raw request and reply, {rate:g}/s: {spread(await steady(raw, rate, seconds))}")
    other.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rate", type=float, default=10.0, help="questions a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    uvloop.run(run(args.targets, args.questions, args.at_once, args.rate, args.seconds))


if __name__ == "__main__":
    main()

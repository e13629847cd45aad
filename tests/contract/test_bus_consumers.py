"""How copies of a worker share work, and how they stop, on every implementation of the bus."""

import asyncio
from collections import Counter

from shared.broker.bus import Delivery
from tests.contract.conftest import Lab, elapse
from tests.support.waiting import until


async def test_slow_work_keeps_its_message(lab: Lab) -> None:
    worker = lab.consumer(ack_wait=0.6)
    bus = await lab.bus(worker)
    attempts, done = list[int](), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await elapse(1.6)
        done.set()

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1")
    await done.wait()
    await elapse(0.8)
    assert attempts == [1]


async def test_no_more_handlers_run_at_once_than_allowed(lab: Lab) -> None:
    worker = lab.consumer(concurrency=3)
    bus = await lab.bus(worker)
    running, most, done = 0, 0, 0

    async def handle(_delivery: Delivery) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await elapse(0.01)
        running -= 1
        done += 1

    await bus.consume(worker, handle)
    await asyncio.gather(*(bus.publish(lab.subject("a"), b"", id=str(number)) for number in range(40)))
    await until(lambda: done == 40)
    assert most == 3


async def test_copies_of_a_worker_share_its_messages(lab: Lab) -> None:
    worker = lab.consumer(concurrency=2)
    buses = [await lab.bus(worker), await lab.bus(worker)]
    seen: list[Counter[bytes]] = [Counter(), Counter()]

    def handler(copy: int) -> "object":
        async def handle(delivery: Delivery) -> None:
            seen[copy][delivery.payload] += 1
            await elapse(0.005)

        return handle

    for copy, bus in enumerate(buses):
        await bus.consume(worker, handler(copy))  # type: ignore[arg-type]
    await asyncio.gather(*(buses[0].publish(lab.subject("a"), b"%d" % n, id=str(n)) for n in range(40)))
    await until(lambda: seen[0].total() + seen[1].total() >= 40)
    assert set((seen[0] + seen[1]).values()) == {1}
    assert all(copy.total() > 4 for copy in seen)


async def test_different_consumers_of_a_stream_each_get_every_message(lab: Lab) -> None:
    workers = [lab.consumer("left"), lab.consumer("right"), lab.consumer("picky", subject=lab.subject("a", "*"))]
    bus = await lab.bus(*workers)
    left, right, picky = seen = [list[str]() for _ in workers]

    for worker, mine in zip(workers, seen, strict=True):

        async def handle(delivery: Delivery, mine: list[str] = mine) -> None:
            mine.append(delivery.subject.rpartition(".")[2])

        await bus.consume(worker, handle)
    for path in (("a", "x"), ("b", "y"), ("a", "z")):
        await bus.publish(lab.subject(*path), b"", id=path[1])
    await until(lambda: len(left) == len(right) == 3 and len(picky) == 2)
    assert sorted(left) == sorted(right) == ["x", "y", "z"]
    assert sorted(picky) == ["x", "z"]


async def test_drain_finishes_what_is_in_flight_and_leaves_the_rest_to_others(lab: Lab) -> None:
    worker = lab.consumer(concurrency=2)
    leaving, staying = await lab.bus(worker), await lab.bus()
    started, gate = list[bytes](), asyncio.Event()
    finished: Counter[bytes] = Counter()

    async def slow(delivery: Delivery) -> None:
        started.append(delivery.payload)
        await gate.wait()
        finished[delivery.payload] += 1

    async def quick(delivery: Delivery) -> None:
        finished[delivery.payload] += 1

    consumption = await leaving.consume(worker, slow)
    for number in range(10):
        await leaving.publish(lab.subject("a"), b"%d" % number, id=str(number))
    await until(lambda: len(started) == 2)
    draining = asyncio.create_task(consumption.drain(5.0))
    await elapse(0.05)
    gate.set()
    assert await draining is True
    await leaving.close()
    assert set(finished) == set(started) == {b"0", b"1"}
    await staying.consume(worker, quick)
    await until(lambda: finished.total() == 10, within=2.0)  # well before ack_wait: nothing was left hanging
    assert set(finished.values()) == {1}


async def test_drain_cancels_at_its_timeout_and_others_get_the_message_at_once(lab: Lab) -> None:
    worker = lab.consumer()
    leaving, staying = await lab.bus(worker), await lab.bus()
    started, attempts = asyncio.Event(), list[int]()

    async def hang(_delivery: Delivery) -> None:
        started.set()
        await asyncio.Event().wait()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    consumption = await leaving.consume(worker, hang)
    await leaving.publish(lab.subject("a"), b"", id="1")
    await started.wait()
    assert await consumption.drain(0.2) is False
    await staying.consume(worker, handle)
    await until(lambda: attempts, within=2.0)
    assert attempts == [2]

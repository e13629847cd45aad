"""Whose message is next when one owner has thousands, on every implementation of the bus. By order, never by time."""

import asyncio
from collections import Counter

from shared.broker.bus import Bus, Delivery
from tests.contract.conftest import Lab
from tests.support.waiting import until


async def flood(bus: Bus, lab: Lab, owner: str, number: int) -> None:
    for start in range(0, number, 250):
        numbers = range(start, min(start + 250, number))
        await asyncio.gather(
            *(bus.publish(lab.subject(owner, str(each)), b"x" * 500, id=f"{owner}{each}") for each in numbers)
        )


async def test_behind_5000_messages_of_one_owner_whose_handlers_all_hang_anothers_is_handled(lab: Lab) -> None:
    worker = lab.consumer(concurrency=8, ahead=64)
    bus = await lab.bus(worker)
    await flood(bus, lab, "a", 5_000)
    await bus.publish(lab.subject("b", "1"), b"", id="b1")
    handled, never = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if ".b." in delivery.subject:
            handled.set()
        else:
            await never.wait()

    await bus.consume(worker, handle)
    async with asyncio.timeout(60):
        await handled.wait()


async def test_owners_are_served_in_turns(lab: Lab) -> None:
    worker = lab.consumer(concurrency=4, ahead=64)
    bus = await lab.bus(worker)
    await flood(bus, lab, "a", 500)
    for number in range(10):
        await bus.publish(lab.subject("b", str(number)), b"", id=f"b{number}")
    order: list[str] = []

    async def handle(delivery: Delivery) -> None:
        order.append(delivery.subject.split(".")[2])
        await asyncio.sleep(0.01)  # the work; where it takes no time at all, nobody has to wait

    await bus.consume(worker, handle)
    await until(lambda: order.count("b") == 10, within=30.0)
    first = order.index("b")
    served = order[first:]
    assert served.count("a") <= 3 * served.count("b") + 64  # of ten of each in turns, three places of four for a
    assert first < 250


async def test_what_was_given_back_to_make_room_is_handled_once_and_as_if_it_came_for_the_first_time(lab: Lab) -> None:
    worker = lab.consumer(concurrency=2, ahead=16, max_failures=2)
    bus = await lab.bus(worker)
    await flood(bus, lab, "a", 100)
    seen: Counter[str] = Counter()
    attempts: set[int] = set()

    async def handle(delivery: Delivery) -> None:
        seen[delivery.subject] += 1
        attempts.add(delivery.attempt)

    await bus.consume(worker, handle)
    await until(lambda: len(seen) == 100, within=60.0)
    assert set(seen.values()) == {1}
    assert attempts == {1}


async def test_what_waits_for_its_turn_stays_with_who_has_it(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1, ahead=16, ack_wait=0.6)
    bus = await lab.bus(worker)
    seen: Counter[str] = Counter()
    gate = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        seen[delivery.subject] += 1
        await gate.wait()

    await bus.consume(worker, handle)
    for number in range(8):
        await bus.publish(lab.subject("a", str(number)), b"", id=str(number))
    await until(lambda: seen)
    await asyncio.sleep(1.5)  # more than twice the time after which it would come again
    gate.set()
    await until(lambda: len(seen) == 8)
    await asyncio.sleep(0.7)
    assert set(seen.values()) == {1}


async def test_what_waits_for_its_turn_goes_to_another_copy_when_its_own_stops(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1, ahead=16)
    leaving, staying = await lab.bus(worker), await lab.bus()
    seen: list[str] = []
    gate = asyncio.Event()

    async def slow(delivery: Delivery) -> None:
        seen.append(delivery.subject)
        await gate.wait()

    async def quick(delivery: Delivery) -> None:
        seen.append(delivery.subject)

    consumption = await leaving.consume(worker, slow)
    for number in range(8):
        await leaving.publish(lab.subject("a", str(number)), b"", id=str(number))
    await until(lambda: seen)
    draining = asyncio.create_task(consumption.drain(5.0))
    await staying.consume(worker, quick)
    await until(lambda: len(seen) == 8, within=5.0)  # well before ack_wait
    gate.set()
    assert await draining is True

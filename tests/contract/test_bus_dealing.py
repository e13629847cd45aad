"""Messages that are dealt out over the copies of a worker, on every implementation of the bus."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from shared.broker.bus import Bus, Dealing, Delivery, Retry
from tests.contract.conftest import Lab, elapse
from tests.support.waiting import until

Seen = Counter[tuple[str, str]]
"""How often each copy handled each message, which is named by the last token of its subject."""


def named(delivery: Delivery) -> str:
    return delivery.subject.rpartition(".")[2]


def even_and_odd(delivery: Delivery) -> str:
    return "even" if int(named(delivery)) % 2 == 0 else "odd"


def noting(seen: Seen, copy: str) -> Callable[[Delivery], Awaitable[None]]:
    async def handle(delivery: Delivery) -> None:
        seen[copy, named(delivery)] += 1

    return handle


async def publish(bus: Bus, lab: Lab, number: int) -> None:
    for each in range(number):
        await bus.publish(lab.subject("a", str(each)), b"x", id=str(each), headers={"Hello": "you"})


async def test_each_message_is_handled_once_by_the_copy_that_owns_it(lab: Lab) -> None:
    worker, seen = lab.consumer(ack_wait=0.6), Seen()
    for copy in ("even", "odd"):
        bus = await lab.bus(worker)
        await bus.consume(worker, noting(seen, copy), Dealing(copy=copy, owner=even_and_odd))
    await publish(bus, lab, 40)
    await until(lambda: len(seen) == 40)
    await elapse(1.5)  # more than twice the time after which what is not answered would come again
    assert set(seen.values()) == {1}
    assert all(copy == ("even" if int(name) % 2 == 0 else "odd") for copy, name in seen)


async def test_what_is_owned_by_a_copy_that_is_not_there_is_handled_at_once_by_who_has_it(lab: Lab) -> None:
    worker, seen = lab.consumer(), Seen()
    bus = await lab.bus(worker)
    await bus.consume(worker, noting(seen, "even"), Dealing(copy="even", owner=even_and_odd))
    await publish(bus, lab, 10)
    await until(lambda: len(seen) == 10, within=5.0)  # long before it would be delivered again
    assert {copy for copy, _ in seen} == {"even"}


async def test_copies_that_disagree_on_who_owns_what_do_not_send_it_to_and_fro(lab: Lab) -> None:
    worker, seen = lab.consumer(), Seen()
    for copy, other in (("a", "b"), ("b", "a")):
        bus = await lab.bus(worker)
        await bus.consume(worker, noting(seen, copy), Dealing(copy=copy, owner=lambda _, other=other: other))
    await publish(bus, lab, 20)
    await until(lambda: sum(seen.values()) == 20)
    assert set(seen.values()) == {1}


async def test_what_was_handed_on_is_as_it_came_and_can_be_given_back(lab: Lab) -> None:
    worker = lab.consumer()
    got: list[tuple[str, bytes, str, int]] = []

    async def handle(delivery: Delivery) -> None:
        assert not [each for each in delivery.headers if each.startswith("Moorage")]
        got.append((delivery.subject, delivery.payload, delivery.headers["Hello"], delivery.attempt))
        if len(got) == 1:
            raise Retry(0.0)

    async def never(_: Delivery) -> None:
        raise AssertionError

    bus, other = await lab.bus(worker), await lab.bus(worker)
    await bus.consume(worker, never, Dealing(copy="a", owner=lambda _: "b"))
    await other.consume(worker, handle, Dealing(copy="b", owner=lambda _: "b"))
    await publish(bus, lab, 1)
    await until(lambda: len(got) == 2)
    assert [each[:3] for each in got] == [(lab.subject("a", "0"), b"x", "you")] * 2
    assert [each[3] for each in got] == [1, 2]


async def test_what_was_handed_on_to_a_copy_that_stops_is_handled_by_the_others(lab: Lab) -> None:
    worker, seen, gate = lab.consumer(concurrency=1, ahead=64), Seen(), asyncio.Event()

    async def slow(delivery: Delivery) -> None:
        seen["leaving", named(delivery)] += 1
        await gate.wait()

    leaving, staying = await lab.bus(worker), await lab.bus(worker)
    consumption = await leaving.consume(worker, slow, Dealing(copy="leaving", owner=lambda _: "leaving"))
    await staying.consume(worker, noting(seen, "staying"), Dealing(copy="staying", owner=lambda _: "leaving"))
    await publish(staying, lab, 20)
    await until(lambda: seen)
    draining = asyncio.create_task(consumption.drain(5.0))
    await until(lambda: len(seen) == 20, within=5.0)  # long before it would be delivered again
    gate.set()
    assert await draining is True
    assert set(seen.values()) == {1}

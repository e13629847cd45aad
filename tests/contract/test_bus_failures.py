"""What becomes of messages whose handler fails, on every implementation of the bus: retries, dead letters, crashes."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.broker.bus import ID_HEADER, Delivery, GivenUp, Reject, Retry
from shared.broker.dead import CAUSE_HEADER, CONSUMER_HEADER, ORIGIN_HEADER
from tests.contract.conftest import Lab, elapse
from tests.support.waiting import until


async def test_retry_comes_again_not_sooner_than_asked(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    times: list[float] = []

    async def handle(delivery: Delivery) -> None:
        times.append(time.monotonic())
        if delivery.attempt == 1:
            raise Retry(0.4, "not yet")

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1")
    await until(lambda: len(times) == 2)
    assert 0.39 <= times[1] - times[0] < 1.5


async def test_retry_never_gives_up_and_grows_patient(lab: Lab) -> None:
    worker = lab.consumer(max_failures=2, patience=4, patient_delay=0.5)
    bus = await lab.bus(worker)
    times: list[float] = []

    async def handle(delivery: Delivery) -> None:
        times.append(time.monotonic())
        if delivery.attempt < 6:
            raise Retry(0.01, "target is away")

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1")
    await until(lambda: len(times) == 6)
    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert min(waits[3:]) >= 0.49
    assert await lab.dead(bus) == []


async def test_messages_that_wait_to_come_again_hold_up_nobody(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    waiting: set[str] = set()
    others = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.payload == b"other":
            others.set()
            return
        waiting.add(delivery.subject)
        raise Retry(60.0, "target is away")

    await bus.consume(worker, handle)
    await asyncio.gather(*(bus.publish(lab.subject(f"a{n}"), b"", id=str(n)) for n in range(1200)))
    await until(lambda: len(waiting) == 1200)
    await bus.publish(lab.subject("b"), b"other", id="other")
    await until(others.is_set)


async def test_reject_goes_to_the_dead_letters_with_its_reason_and_does_not_come_again(lab: Lab) -> None:
    worker = lab.consumer(ack_wait=0.3)
    bus = await lab.bus(worker)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise Reject("no such\nkind")

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a", "b"), b"original", id="1", headers={"traceparent": "00-x"})
    (letter,) = await lab.parked(bus)
    assert (letter.subject, letter.consumer, letter.cause) == (lab.subject("a", "b"), worker.name, "no such kind")
    assert letter.payload == b"original"
    assert letter.headers["traceparent"] == "00-x"
    await elapse(0.7)
    assert attempts == [1]


async def test_whoever_wants_to_is_around_when_a_message_is_parked(lab: Lab) -> None:
    worker = lab.consumer(max_failures=1)
    bus = await lab.bus(worker)
    seen: list[tuple[str, str, str]] = []

    @contextmanager
    def parking(delivery: Delivery, why: GivenUp, cause: str) -> Iterator[None]:
        yield
        seen.append((delivery.subject, why, cause))

    async def handle(delivery: Delivery) -> None:
        raise Reject("no") if delivery.payload == b"reject" else KeyError("x")

    await bus.consume(worker, handle, parking=parking)
    await bus.publish(lab.subject("a"), b"reject", id="1")
    await bus.publish(lab.subject("b"), b"fail", id="2")
    await until(lambda: len(seen) == 2)
    assert sorted(seen) == [
        (lab.subject("a"), "rejected", "no"),
        (lab.subject("b"), "failed", "KeyError: 'x'"),
    ]


async def test_what_waits_for_a_consumer_is_known_from_the_last_look(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1)
    bus = await lab.bus(worker)
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(_delivery: Delivery) -> None:
        entered.set()
        await release.wait()

    for number in range(3):
        await bus.publish(lab.subject("a"), b"", id=str(number))
    assert await bus.missing((), (worker,)) == []
    assert bus.lags[worker.name] == (3, 0)
    await bus.consume(worker, handle)
    await entered.wait()
    assert await bus.missing((), (worker,)) == []
    assert bus.lags[worker.name] == (2, 1)
    release.set()


async def test_a_poison_message_is_parked_with_its_cause_while_the_worker_lives_and_others_flow(lab: Lab) -> None:
    worker = lab.consumer(max_failures=2)
    bus = await lab.bus(worker)
    attempts: Counter[str] = Counter()

    async def handle(delivery: Delivery) -> None:
        attempts[delivery.subject[-1]] += 1
        if delivery.payload == b"\xff\x00poison":
            raise ValueError("cannot read\nthis")

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("p"), b"\xff\x00poison", id="p", headers={"traceparent": "00-p"})
    await bus.publish(lab.subject("q"), b"fine", id="q")
    (letter,) = await lab.parked(bus)
    await bus.publish(lab.subject("r"), b"fine", id="r")
    await until(lambda: attempts["r"])
    assert attempts == {"p": 2, "q": 1, "r": 1}
    assert letter.cause == "ValueError: cannot read this"
    assert (letter.subject, letter.payload) == (lab.subject("p"), b"\xff\x00poison")
    assert letter.headers["traceparent"] == "00-p"


async def test_retries_that_were_asked_for_do_not_count_as_failures(lab: Lab) -> None:
    worker = lab.consumer(max_failures=2)
    bus = await lab.bus(worker)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt in (4, 6):
            raise ValueError("a bug")
        raise Retry(0.01, "target is away")

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1")
    (letter,) = await lab.parked(bus)
    assert letter.cause == "ValueError: a bug"
    assert attempts == [1, 2, 3, 4, 5, 6]


async def test_a_crash_between_publish_and_acknowledge_repeats_the_work_but_not_its_message(lab: Lab) -> None:
    first, second = (
        lab.consumer("first", ack_wait=0.5, subject=lab.subject("in")),
        lab.consumer("second", subject=lab.subject("out")),
    )
    doomed = await lab.bus(first, second)
    published, stuck = list[bool](), asyncio.Event()

    async def publish_and_hang(delivery: Delivery) -> None:
        published.append(await doomed.publish(lab.subject("out"), b"result", id=f"out:{delivery.headers[ID_HEADER]}"))
        stuck.set()
        await asyncio.Event().wait()

    await doomed.consume(first, publish_and_hang)
    await doomed.publish(lab.subject("in"), b"work", id="1")
    await stuck.wait()
    await doomed.close()  # with the message in hand: as good as a kill -9

    heir = await lab.bus()
    results, attempts = list[bytes](), list[int]()

    async def publish(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        published.append(await heir.publish(lab.subject("out"), b"result", id=f"out:{delivery.headers[ID_HEADER]}"))

    async def collect(delivery: Delivery) -> None:
        results.append(delivery.payload)

    await heir.consume(first, publish)
    await heir.consume(second, collect)
    await until(lambda: len(published) == 2)
    await heir.publish(lab.subject("out"), b"last", id="last")
    await until(lambda: b"last" in results)
    assert (published, attempts, results) == ([True, False], [2], [b"result", b"last"])


async def test_a_message_that_kills_its_worker_every_time_is_delivered_a_bounded_number_of_times(lab: Lab) -> None:
    worker = lab.consumer(ack_wait=0.2, max_deliver=3)
    attempts: list[int] = []

    async def die(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.Event().wait()

    async def live(number: int) -> None:
        bus = await lab.bus(worker)
        await bus.consume(worker, die)
        await bus.publish(lab.subject("a"), b"", id="1")
        await until(lambda: len(attempts) == number)
        await bus.close()

    for number in (1, 2, 3):
        await live(number)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(live(4), 1.0)
    assert attempts == [1, 2, 3]


async def test_dead_letters_are_listed_oldest_first_and_filtered_by_where_they_came_from(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1)
    bus = await lab.bus(worker)

    async def handle(delivery: Delivery) -> None:
        raise Reject(delivery.payload.decode())

    await bus.consume(worker, handle)
    for number, key in enumerate(("x", "y", "x")):
        await bus.publish(lab.subject(key, "z"), str(number).encode(), id=str(number))
    letters = await lab.parked(bus, 3)
    assert [letter.cause for letter in letters] == ["0", "1", "2"]
    assert sorted(letter.sequence for letter in letters) == [letter.sequence for letter in letters]
    assert [letter.cause async for letter in bus.dead_letters(f"{lab.token}.x.>")] == ["0", "2"]
    assert all(letter.time.startswith("20") for letter in letters)


async def test_replay_publishes_what_was_parked_where_it_came_from_and_takes_it_out(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    broken, seen = True, list[Delivery]()

    async def handle(delivery: Delivery) -> None:
        if broken:
            raise Reject("broken")
        seen.append(delivery)

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"again", id="1", headers={"traceparent": "00-a"})
    (letter,) = await lab.parked(bus)
    broken = False
    await bus.replay(letter)
    await until(lambda: seen)
    assert (seen[0].subject, seen[0].payload, seen[0].headers["traceparent"]) == (lab.subject("a"), b"again", "00-a")
    assert not {CAUSE_HEADER, ORIGIN_HEADER, CONSUMER_HEADER} & seen[0].headers.keys()
    assert seen[0].headers[ID_HEADER] != "1"
    assert await lab.dead(bus) == []
    await bus.replay(letter)  # twice by mistake is once
    await bus.publish(lab.subject("a"), b"last", id="2")
    await until(lambda: seen[-1].payload == b"last")
    assert len(seen) == 2

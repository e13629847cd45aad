"""What the bus promises, on every implementation of it."""

import asyncio
import hashlib
import itertools
import time
from collections import Counter

import pytest

from shared.bus import (
    CAUSE_HEADER,
    CLAIM_HEADER,
    CONSUMER_HEADER,
    ID_HEADER,
    ORIGIN_HEADER,
    BusError,
    Delivery,
    Reject,
    Retry,
    payload_of,
    send,
)
from shared.tokens import join
from tests.contract.conftest import Lab, elapse, until


async def test_a_message_is_delivered_once_and_acknowledged(lab: Lab) -> None:
    worker = lab.consumer(ack_wait=0.3)
    bus = await lab.bus(worker)
    seen: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery)

    await bus.consume(worker, handle)
    assert await bus.publish(lab.subject("a"), b"payload", id="1") is True
    await until(lambda: seen)
    await elapse(0.7)
    (delivery,) = seen
    assert (delivery.subject, delivery.payload, delivery.attempt) == (lab.subject("a"), b"payload", 1)
    assert delivery.headers[ID_HEADER] == "1"


async def test_messages_published_before_anyone_consumed_are_delivered_in_order(lab: Lab) -> None:
    worker = lab.consumer(concurrency=1)
    bus = await lab.bus(worker)
    for number in range(20):
        await bus.publish(lab.subject("a"), str(number).encode(), id=str(number))
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)

    await bus.consume(worker, handle)
    await until(lambda: len(seen) == 20)
    assert seen == [str(number).encode() for number in range(20)]


async def test_headers_pass_unchanged(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    seen: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery)

    headers = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        "ce-source": "/placements/größer",
    }
    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1", headers=headers)
    await until(lambda: seen)
    assert headers.items() <= seen[0].headers.items()


async def test_where_only_the_last_counts_the_newest_is_handled_last_and_the_superseded_need_not_be(lab: Lab) -> None:
    worker = lab.consumer(concurrency=4)
    bus = await lab.bus(worker, last_per_subject=True)
    seen: dict[str, list[int]] = {"a": [], "b": []}
    for number in range(30):
        for key in seen:
            await bus.publish(lab.subject(key), str(number).encode(), id=f"{key}{number}")

    async def handle(delivery: Delivery) -> None:
        seen[delivery.subject[-1]].append(int(delivery.payload))

    await bus.consume(worker, handle)
    await until(lambda: all(29 in numbers for numbers in seen.values()))
    assert seen == {"a": [29], "b": [29]}


async def test_a_superseded_message_that_is_in_flight_does_not_block_the_newer_one(lab: Lab) -> None:
    worker = lab.consumer(concurrency=2)
    bus = await lab.bus(worker, last_per_subject=True)
    gate, seen = asyncio.Event(), list[bytes]()

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)
        if delivery.payload == b"old":
            await gate.wait()

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"old", id="1")
    await until(lambda: seen == [b"old"])
    await bus.publish(lab.subject("a"), b"new", id="2")
    await until(lambda: seen == [b"old", b"new"])
    gate.set()


async def test_a_superseded_message_is_not_delivered_again(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker, last_per_subject=True)
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)
        if delivery.payload == b"old":
            await bus.publish(lab.subject("a"), b"new", id="2")
            raise Retry(0.1)

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"old", id="1")
    await until(lambda: b"new" in seen)
    await elapse(0.4)
    assert seen == [b"old", b"new"]


async def test_a_duplicate_id_is_answered_and_swallowed(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)

    await bus.consume(worker, handle)
    assert await bus.publish(lab.subject("a"), b"one", id="same") is True
    assert await bus.publish(lab.subject("a"), b"two", id="same") is False
    await bus.publish(lab.subject("a"), b"three", id="other")
    await until(lambda: b"three" in seen)
    assert seen == [b"one", b"three"]


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


@pytest.mark.parametrize("size", [0, 300 * 1024, 3 * 1024 * 1024])
async def test_payloads_of_any_size_arrive_large_ones_by_claim_check(lab: Lab, size: int) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    payload = hashlib.sha256(b"seed").digest() * (size // 32)
    seen: list[tuple[Delivery, bytes]] = []

    async def handle(delivery: Delivery) -> None:
        seen.append((delivery, await payload_of(bus, delivery)))

    await bus.consume(worker, handle)
    await send(bus, lab.subject("a"), payload, id="1")
    await until(lambda: seen)
    delivery, arrived = seen[0]
    assert arrived == payload
    assert (CLAIM_HEADER in delivery.headers) == (size > 0)


async def test_a_stored_payload_is_named_by_its_hash_and_storing_it_again_changes_nothing(lab: Lab) -> None:
    bus = await lab.bus()
    claim = await bus.put_blob(b"x" * 500_000)
    assert claim == hashlib.sha256(b"x" * 500_000).hexdigest()
    assert await bus.put_blob(b"x" * 500_000) == claim
    assert await bus.get_blob(claim) == b"x" * 500_000


async def test_a_claim_that_is_gone_is_rejected(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)

    async def handle(delivery: Delivery) -> None:
        await payload_of(bus, delivery)

    await bus.consume(worker, handle)
    await bus.publish(lab.subject("a"), b"", id="1", headers={CLAIM_HEADER: "0" * 64})
    (letter,) = await lab.parked(bus)
    assert letter.cause == f"payload {'0' * 64} is no longer in the object store"
    with pytest.raises(KeyError):
        await bus.get_blob("0" * 64)


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


GARBAGE_SUBJECTS = ["", ".", "a..b", ".a", "a.", "a b", "a\tb", "a\r\nPUB x 0", "a.*", "a.>", "\x00", "x" * 5000]


@pytest.mark.parametrize("subject", GARBAGE_SUBJECTS)
async def test_a_subject_that_is_none_is_refused_and_harms_nobody(lab: Lab, subject: str) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    with pytest.raises(ValueError, match="not a subject"):
        await bus.publish(subject, b"", id="1")
    assert await bus.publish(lab.subject("fine"), b"", id="2")
    assert bus.healthy()


async def test_any_name_makes_a_subject_that_works(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    names = ("root:org.team", "späce d", "*", ">", "", "\x00\n", "🚢", "a.b..c")
    seen: list[str] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.subject)

    await bus.consume(worker, handle)
    await bus.publish(lab.subject(join(*names)), b"", id="1")
    await until(lambda: seen)
    assert seen == [lab.subject(join(*names))]


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


async def test_health_is_that_of_the_connection(lab: Lab) -> None:
    bus = await lab.bus()
    assert bus.healthy()
    await bus.close()
    assert not bus.healthy()
    with pytest.raises(BusError):
        await bus.publish(lab.subject("a"), b"", id="1")


async def test_provisioning_again_changes_what_is_there_and_keeps_its_messages(lab: Lab) -> None:
    worker = lab.consumer()
    bus = await lab.bus(worker)
    await bus.publish(lab.subject("a"), b"kept", id="1")
    changed = lab.consumer(ack_wait=12.0, concurrency=1)
    bus = await lab.bus(changed, max_age=7200.0)
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)

    await bus.consume(changed, handle)
    await until(lambda: seen == [b"kept"])

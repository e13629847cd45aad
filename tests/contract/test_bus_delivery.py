"""How the bus delivers messages, on every implementation of it: order, duplicates, subjects, payloads."""

import asyncio
import hashlib

import pytest

from shared.broker.bus import ID_HEADER, BusError, Delivery, Retry
from shared.broker.claims import CLAIM_HEADER, payload_of, send
from shared.broker.tokens import join
from tests.contract.conftest import Lab, elapse
from tests.support.waiting import until


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


async def test_the_newest_message_of_a_subject_is_known_by_its_id(lab: Lab) -> None:
    bus = await lab.bus()
    for number in range(3):
        await bus.publish(lab.subject("a"), b"payload", id=f"a{number}")
    await bus.publish(lab.subject("b"), b"", id="b")
    assert await bus.newest_id(lab.stream, lab.subject("a")) == "a2"
    assert await bus.newest_id(lab.stream, lab.subject("b")) == "b"
    assert await bus.newest_id(lab.stream, lab.subject("nothing")) == ""


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

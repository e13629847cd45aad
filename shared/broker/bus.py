"""What Moorage needs of a message broker, and what happens to a message whose handler did not finish.

A handler returns (then its message is acknowledged), raises `Retry(delay)` or `Reject(reason)`, or fails with any other
exception. Such a failure is logged and the message delivered again, with growing pauses; after `max_failures`
deliveries it goes to the dead-letter stream, with the cause.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import ClassVar, Protocol

import msgspec

from shared.broker.subjects import is_subject

log = logging.getLogger("moorage.bus")

CLAIM_HEADER = "Moorage-Claim"
CAUSE_HEADER = "Moorage-Cause"
ORIGIN_HEADER = "Moorage-Subject"
CONSUMER_HEADER = "Moorage-Consumer"
ID_HEADER = "Nats-Msg-Id"

DEAD = "moorage.dead"
DEAD_STREAM = "MOORAGE_DEAD"
"""Where parked messages lie: the stream of this name on `moorage.dead.>` is provisioned like any other."""

CLAIM_ABOVE = 256 * 1024
"""Payloads above this many bytes travel by claim check: the message holds a reference to the object store."""

CLAIM_ATTEMPTS = 3
"""Deliveries after which a payload that is not in the object store counts as gone."""


class Retry(Exception):
    """Raised by a handler to have its message delivered again after `delay` seconds.

    A message may be retried without limit, because what it waits for may be missing for hours. It ends when its stream
    drops it (`max_age`) or a newer message replaces it. After `Consumer.patience` deliveries, each retry waits for at
    least `Consumer.patient_delay` seconds.
    """

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(reason or f"retry in {delay:g} s")
        self.delay = delay


class Reject(Exception):
    """Raised by a handler for a message that no redelivery could help; it goes to the dead letters with this reason."""


class BusError(Exception):
    """The broker did not do what was asked, or could not be reached in time. Worth trying again."""


class Forbidden(BusError):
    """The broker's permissions deny this; trying again does not help."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that the broker is to have.

    `last_per_subject`: it keeps only the newest message of each subject. `max_age` (seconds) and `max_bytes` bound what
    it keeps; the oldest messages go first. A message id is known as a duplicate for `duplicate_window` seconds.
    """

    name: str
    subjects: tuple[str, ...]
    description: str
    last_per_subject: bool = False
    max_age: float = 86_400.0
    max_bytes: int = 1 << 30
    duplicate_window: float = 600.0
    replicas: int = 1


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer that all copies of a worker share. `ack_wait` and `patient_delay` are in seconds.

    The number of messages that wait to be delivered again has no bound of its own. Such a bound would hold for all
    copies together, so that a thousand messages that wait for one target would stop the stage for everybody. Work in
    progress is bounded by `concurrency`, waiting messages by the size of the stream.
    """

    name: str
    stream: str
    subject: str
    ack_wait: float = 30.0
    max_failures: int = 5  # a message whose handler failed (not: asked for a retry) this often is given up
    patience: int = 100  # after this many deliveries, each further retry waits for at least `patient_delay`
    patient_delay: float = 10.0
    # The broker itself stops after this many deliveries, for messages that kill their worker every time. Retries never
    # reach it in the day that a stream keeps a message: 100 + 86,400 s / 10 s = 8,740.
    max_deliver: int = 10_000
    concurrency: int = 32


class Delivery(Protocol):
    """One delivery of a message, which is ours for `ack_wait` seconds.

    It ends with exactly one of `ack` (done), `nak` (deliver it again after `delay` seconds) and `terminate` (never
    again). `in_progress` extends the time.
    """

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    attempt: int
    """1 for the first delivery."""

    async def ack(self) -> None: ...
    async def nak(self, delay: float) -> None: ...
    async def terminate(self, reason: str) -> None: ...
    async def in_progress(self) -> None: ...


class Consumption(Protocol):
    """A consumer at work."""

    async def drain(self, timeout: float) -> bool:
        """Stop fetching, let handlers in flight finish; False when some had to be cancelled at the timeout."""
        ...


class Bus(Protocol):
    """What Moorage needs of a broker."""

    name: ClassVar[str]

    async def provision(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> None:
        """Create or update what the topology names; idempotent."""
        ...

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        """Store a message; returns once the broker has it. False: it had one with this id already (a duplicate).

        Raises `BusError` after bounded retries with the same id, `Forbidden` when permissions deny it.
        """
        ...

    async def consume(self, consumer: Consumer, handle: "Callable[[Delivery], Awaitable[None]]") -> Consumption:
        """Deliver messages to `handle`, at most `concurrency` at a time, until drained; survives reconnects."""
        ...

    async def put_blob(self, payload: bytes) -> str:
        """Store a large payload under its SHA-256, which is returned; idempotent.

        It is kept for a day, unless newer ones need the room.
        """
        ...

    async def get_blob(self, claim: str) -> bytes:
        """A payload stored by `put_blob`; raises `KeyError` when it is gone."""
        ...

    def dead_letters(self, subject: str = ">") -> "AsyncIterator[DeadLetter]":
        """The parked messages below `moorage.dead.<subject>`, oldest first; ends at the newest."""
        ...

    async def replay(self, letter: "DeadLetter") -> None:
        """Publish a parked message to where it came from, under a new id, and take it out of the dead letters."""
        ...

    def healthy(self) -> bool:
        """Whether the broker is reachable at this moment."""
        ...

    async def close(self) -> None: ...


async def send(bus: Bus, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
    """Publish, by claim check where the payload is large."""
    if len(payload) <= CLAIM_ABOVE:
        return await bus.publish(subject, payload, id=id, headers=headers)
    claim = await bus.put_blob(payload)
    return await bus.publish(subject, b"", id=id, headers={**(headers or {}), CLAIM_HEADER: claim})


async def payload_of(bus: Bus, delivery: Delivery) -> bytes:
    """The payload, fetched from the object store where the message is a claim.

    A claim that is not there is tried again before the message is rejected: in a cluster, the server that answers may
    be some milliseconds behind the one that stored the payload.
    """
    claim = delivery.headers.get(CLAIM_HEADER)
    if claim is None:
        return delivery.payload
    try:
        return await bus.get_blob(claim)
    except KeyError:
        if delivery.attempt < CLAIM_ATTEMPTS:
            raise Retry(backoff(delivery.attempt), f"payload {claim} is not in the object store yet") from None
        raise Reject(f"payload {claim} is no longer in the object store") from None


def backoff(attempt: int, *, first: float = 0.5, most: float = 30.0) -> float:
    """Seconds before delivery number `attempt + 1`: exponential, bounded."""
    return float(min(most, first * 2.0 ** min(attempt - 1, 64)))


def dead_letter_id(consumer: str, delivery: Delivery) -> str:
    """An id by which the same message, parked twice because of a crash in between, is one dead letter."""
    digest = hashlib.sha256(delivery.payload).hexdigest()[:16]
    return f"dead:{consumer}:{delivery.headers.get(ID_HEADER, digest)}"


async def dispatch(
    bus: Bus, consumer: Consumer, delivery: Delivery, handle: "Callable[[Delivery], Awaitable[None]]"
) -> None:
    """Run a handler on one delivery, and settle the delivery according to how the handler ended.

    Raises nothing but cancellation.
    """
    renewal = asyncio.create_task(_renew(delivery, consumer.ack_wait / 3))
    try:
        await handle(delivery)
    except Retry as retry:
        patient = delivery.attempt >= consumer.patience
        await _settle(delivery.nak(max(retry.delay, consumer.patient_delay) if patient else retry.delay))
    except Reject as reason:
        await _settle(_park(bus, consumer, delivery, str(reason)))
    except Exception as error:
        log.exception("handler failed", extra={"consumer": consumer.name, "subject": delivery.subject})
        if delivery.attempt >= consumer.max_failures and not _is_outage(error):
            await _settle(_park(bus, consumer, delivery, f"{type(error).__name__}: {error}"))
        else:
            await _settle(delivery.nak(backoff(delivery.attempt)))
    else:
        await _settle(delivery.ack())
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal


def _is_outage(error: Exception) -> bool:
    """Whether the broker failed, and not the handler: that must not count against the message."""
    return isinstance(error, BusError) and not isinstance(error, Forbidden)


async def _park(bus: Bus, consumer: Consumer, delivery: Delivery, cause: str) -> None:
    headers = {name: value for name, value in delivery.headers.items() if not name.startswith("Nats-")}
    headers |= {CAUSE_HEADER: _one_line(cause), ORIGIN_HEADER: delivery.subject, CONSUMER_HEADER: consumer.name}
    place = f"{DEAD}.{delivery.subject.removeprefix('moorage.')}"
    if not is_subject(place):  # strangers can publish on what we would not
        place = f"{DEAD}.garbage"
    await bus.publish(place, delivery.payload, id=dead_letter_id(consumer.name, delivery), headers=headers)
    await delivery.terminate(_one_line(cause))
    log.error("message parked", extra={"consumer": consumer.name, "subject": delivery.subject, "cause": cause})


def _one_line(text: str, limit: int = 500) -> str:
    """Header values may not hold line breaks, and causes may be long."""
    return " ".join(text.split())[:limit]


async def _settle(settling: Awaitable[None]) -> None:
    """Settle a delivery. If the broker cannot be reached, nothing is lost: it delivers the message again."""
    try:
        await settling
    except (BusError, OSError, TimeoutError) as error:
        log.warning("could not settle a delivery, it will come again", extra={"error": str(error)})


async def _renew(delivery: Delivery, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        with contextlib.suppress(BusError, OSError, TimeoutError):
            await delivery.in_progress()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A parked message, as the command line lists it."""

    sequence: int
    subject: str
    consumer: str
    cause: str
    time: str
    payload: bytes
    headers: dict[str, str]


def replay_id(letter: DeadLetter) -> str:
    """A new id, as the old one may still be known as a duplicate; replaying the same letter twice is one message."""
    return f"replay:{letter.sequence}:{letter.time}"


def replay_headers(letter: DeadLetter) -> dict[str, str]:
    """The headers that the message had before it was parked."""
    parking = (CAUSE_HEADER, ORIGIN_HEADER, CONSUMER_HEADER, ID_HEADER)
    return {name: value for name, value in letter.headers.items() if name not in parking}

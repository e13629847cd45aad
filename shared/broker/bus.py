"""The port to a message broker: all that Moorage needs of one."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import ClassVar, Protocol

import msgspec

log = logging.getLogger("moorage.bus")

ID_HEADER = "Nats-Msg-Id"


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
    max_failures: int = 5  # a message whose handler failed (not: asked for a retry) this often in one copy is given up
    patience: int = 100  # after this many deliveries, each further retry waits for at least `patient_delay`
    patient_delay: float = 10.0
    # The broker itself stops after this many deliveries, for messages that kill their worker every time. Retries never
    # reach it in the day that a stream keeps a message: 100 + 86,400 s / 10 s = 8,740.
    max_deliver: int = 10_000
    concurrency: int = 32
    # Messages that wait in each copy beyond those, to be handled in turns: owner by owner, which is the first token
    # that the filter leaves open. None of them: first come, first served.
    ahead: int = 0


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
    """A broker as Moorage needs it."""

    name: ClassVar[str]

    async def provision(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> None:
        """Create or update what the topology names; idempotent."""
        ...

    async def missing(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> list[str]:
        """The parts of what these need that are not there, as `stream NAME` and `consumer NAME`. Raises `BusError`."""
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
        """True if the broker is reachable at this moment."""
        ...

    async def close(self) -> None: ...


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A parked message, as the command line lists it."""

    sequence: int
    subject: str
    consumer: str
    cause: str
    time: str
    payload: bytes
    headers: dict[str, str]

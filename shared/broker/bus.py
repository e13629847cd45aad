"""The port to a message broker: all that Moorage needs of one."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal, NamedTuple, Protocol

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


def is_outage(error: BaseException) -> bool:
    """True if the broker failed, and not whoever asked it to do something."""
    return isinstance(error, BusError) and not isinstance(error, Forbidden)


UnansweredCode = Literal["Nobody", "Timeout", "Busy", "Unavailable", "Invalid", "Failed"]
"""Why a question has no answer. Nobody serves its subject, or nobody answered in time; or who was asked has too much to
do, cannot answer now, can make nothing of the question, or failed. To ask again may help, but for the last two."""


class Unanswered(BusError):
    """A question that has no answer, for a reason that a program can tell by `code`, and a person by the text."""

    def __init__(self, code: UnansweredCode, reason: str) -> None:
        super().__init__(reason)
        self.code: UnansweredCode = code


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that the broker is to have.

    `last_per_subject`: it keeps only the newest message of each subject. `max_age` (seconds) and `max_bytes` bound what
    it keeps; the oldest messages go first. A message id is known as a duplicate for `duplicate_window` seconds.

    With a `backlog`, a message is gone once it is handled, and so many of one subject may wait: to publish more of it
    fails, and so it does when the stream is full. Nothing that waits makes room for what is new.

    Where others read from it, `most_consumers` bounds how many consumers they may make in all (0: any number), and one
    that nobody uses for `unused_consumers` seconds is removed (0: never).
    """

    name: str
    subjects: tuple[str, ...]
    description: str
    last_per_subject: bool = False
    backlog: int = 0
    max_age: float = 86_400.0
    max_bytes: int = 1 << 30
    duplicate_window: float = 600.0
    replicas: int = 1
    most_consumers: int = 0
    unused_consumers: float = 0.0


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


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Questions on a subject (which may hold wildcards), each of which goes to one copy of the group that serves it.

    Nothing is stored: who asks waits for the answer. Each copy works on `concurrency` questions at once, and answers
    Busy to all beyond that.
    """

    subject: str
    group: str
    concurrency: int = 128


class Asked(msgspec.Struct, frozen=True):
    """A question as it arrived."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """An answer as it travels."""

    payload: bytes
    headers: Mapping[str, str] = {}


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
    handed_on: bool
    """Whether another copy handed it on to this one."""
    sequence: int
    """Its place in the stream: of two messages, the one that came later has the higher one."""
    stored_at: float
    """When the broker got the message, in seconds since the epoch; 0 where that is not known."""
    pending: int
    """How many messages waited behind it for the same consumer, when it was delivered."""

    async def ack(self) -> None: ...
    async def nak(self, delay: float) -> None: ...
    async def terminate(self, reason: str) -> None: ...
    async def in_progress(self) -> None: ...


class Dealing(msgspec.Struct, frozen=True, kw_only=True):
    """How the messages of a consumer are dealt out over the copies of a worker: which `copy` this is, by its name, and
    which is the `owner` of a message. What another one owns is handed on to that, if it is there.

    Copies may differ on who owns what: a message is handed on once, and handled where it is then.
    """

    copy: str
    owner: Callable[[Delivery], str]


GivenUp = Literal["rejected", "failed"]
"""Why a message is given up: no delivery could help, or its handler failed too often."""

Parking = Callable[[Delivery, GivenUp, str], AbstractContextManager[object]]
"""What goes around the parking of a message, with its cause: for whoever counts or traces it."""


def unwatched(_delivery: Delivery, _why: GivenUp, _cause: str) -> AbstractContextManager[object]:
    """Nothing goes around it."""
    return nullcontext()


class Lag(NamedTuple):
    """What waits for a consumer: messages that nobody has got yet, and such that are in hand or are to come again."""

    pending: int
    unacknowledged: int


class Consumption(Protocol):
    """A consumer or a service at work."""

    async def drain(self, timeout: float) -> bool:
        """Take nothing new, let handlers in flight finish; False when some had to be cancelled at the timeout."""
        ...


class Listening(Protocol):
    """Somebody who listens."""

    async def stop(self) -> None:
        """Hear nothing more."""
        ...


class Bus(Protocol):
    """A broker as Moorage needs it."""

    name: ClassVar[str]
    lags: dict[str, Lag]
    """What waits, by the name of the consumer, as `missing` last found it."""

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

    async def tell(self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Publish to whoever listens now; nothing is stored, and nobody says whether it came.

        Raises `BusError` without a connection, ValueError for more than one message can hold.
        """
        ...

    async def listen(self, subject: str, take: "Callable[[Asked], None]", missed: "Callable[[], None]") -> "Listening":
        """Have `take` called with all that is told on a subject, which may hold wildcards, in order; it must not block.

        `missed` is called where something may have been told meanwhile that is not heard of, since the connection was
        interrupted. Raises `Forbidden` when permissions deny it.
        """
        ...

    async def consume(
        self,
        consumer: Consumer,
        handle: "Callable[[Delivery], Awaitable[None]]",
        dealing: Dealing | None = None,
        parking: Parking = unwatched,
    ) -> Consumption:
        """Deliver messages to `handle`, at most `concurrency` at a time, until drained; survives reconnects.

        Without a `dealing`, whichever copy fetches a message handles it.
        """
        ...

    async def ask(
        self, subject: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask whoever serves a subject, once; returns the answer.

        Raises `Unanswered` where there is none within `timeout` seconds, or nobody to give one; `Forbidden` when
        permissions deny it; ValueError for more than one message can hold.
        """
        ...

    async def serve(self, service: Service, handle: "Callable[[Asked], Awaitable[Reply]]") -> Consumption:
        """Answer questions by `handle` until drained; survives reconnects.

        A `Retry` of the handler is answered as Unavailable, a `Reject` as Invalid, with their reasons; anything else
        that it raises is logged and answered as Failed.
        """
        ...

    async def newest_id(self, stream: str, subject: str) -> str:
        """The id of the newest message of a stream on a subject, by which it was published; empty where there is none.

        In a cluster the answer may be some milliseconds old. Raises `BusError`.
        """
        ...

    def waiting(self, stream: str, subject: str, before: int) -> "AsyncIterator[WaitingMessage]":
        """The messages of a stream on a subject that are of lower sequence than `before`, the oldest first.

        As they are now: in a cluster, as the leader has them. Raises `BusError`.
        """
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


class WaitingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it lies in its stream."""

    sequence: int
    payload: bytes
    headers: dict[str, str]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A parked message, as the command line lists it."""

    sequence: int
    subject: str
    consumer: str
    cause: str
    time: str
    payload: bytes
    headers: dict[str, str]

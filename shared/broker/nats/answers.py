"""Answers to requests: one message or many, those of JetStream's API, and what the server itself says by a status."""

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.broker.bus import BusError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

NO_RESPONDERS = "503"


class Position(NamedTuple):
    """Where a message of a consumer stands: how often it was delivered, its numbers in the stream and among what the
    consumer delivered, when it was stored (seconds since the epoch), and how many wait behind it."""

    deliveries: int
    stream: int
    consumer: int
    stored_at: float
    pending: int


def position_of(answer_to: str) -> Position:
    """By the subject on which JetStream is answered:
    `$JS.ACK.<stream>.<consumer>.<deliveries>.<number in the stream>.<number of the consumer>.<time>.<pending>`,
    or the same after `<domain>.<account>` and before one more token."""
    tokens = answer_to.split(".")
    first = 4 if len(tokens) == 9 else 6
    deliveries, stream, consumer, stored, pending = map(int, tokens[first : first + 5])
    return Position(deliveries, stream, consumer, stored / 1e9, pending)


class JetStreamError(BusError):
    """JetStream refused; `code` is its error code (10071: wrong last sequence ...)."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


def api_answer(message: "Msg") -> dict[str, Any]:
    """A JetStream answer, decoded; raises `JetStreamError` where it is an error."""
    answer: dict[str, Any] = msgspec.json.decode(message.data)
    if error := answer.get("error"):
        raise JetStreamError(error.get("err_code", 0), error.get("description", "unknown error"))
    return answer


class AwaitedAnswer:
    """The answer that a request waits for: the first message, or (`many`) all up to a status message.

    After `until`, by the clock of the loop, it is overdue.
    """

    def __init__(self, subject: str, many: bool, until: float) -> None:
        self.subject = subject
        self.many = many
        self.until = until
        self.parts: list[Msg] = []
        self.done: asyncio.Future[list[Msg]] = asyncio.get_running_loop().create_future()

    def take(self, message: "Msg") -> None:
        self.parts.append(message)
        if not self.done.done() and (not self.many or status_of(message)):
            self.done.set_result(self.parts)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


def status_of(message: "Msg") -> str | None:
    """The status code of a message that the server itself made; None for all others.

    A stored message may carry a header of that name as well; it is answered together with the stream's name.
    """
    headers = message.headers
    return headers.get("Status") if headers and not message.data and "Nats-Stream" not in headers else None

"""Questions to handlers, and the answer to each by how its handler ended; the same over any broker.

What is no answer travels as NATS's own services say it (ADR-32 of nats-architecture-and-design): by two headers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import get_args

from shared.broker.bus import Asked, BusError, Reject, Reply, Retry, Service, Unanswered, UnansweredCode

log = logging.getLogger("moorage.bus")

CODE_HEADER = "Nats-Service-Error-Code"
REASON_HEADER = "Nats-Service-Error"
LONGEST_REASON = 1000  # characters
_CODES = frozenset(get_args(UnansweredCode))

Send = Callable[[Reply], Awaitable[None]]


class Questions:
    """The questions of a service that one copy works on."""

    def __init__(self, service: Service, handle: Callable[[Asked], Awaitable[Reply]]) -> None:
        self._service = service
        self._handle = handle
        self._working: set[asyncio.Task[None]] = set()
        self._refusing: set[asyncio.Task[None]] = set()

    def take(self, asked: Asked, send: Send) -> None:
        """Answer a question by `send`, which may raise BusError: who asked will not wait for ever."""
        if len(self._working) < self._service.concurrency:
            tasks, answering = self._working, self._answer(asked, send)
        else:
            tasks, answering = self._refusing, _send(refusal("Busy", f"{self._service.group} has too much to do"), send)
        task = asyncio.create_task(answering)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def drain(self, timeout: float) -> bool:
        """Let what is in hand be answered; False when some of it had to be cancelled at the timeout."""
        if self._working:
            await asyncio.wait(self._working, timeout=timeout)
        unfinished = len(self._working)
        await self.abandon()
        return not unfinished

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        for task in (unfinished := [*self._working, *self._refusing]):
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _answer(self, asked: Asked, send: Send) -> None:
        await _send(await reply_of(self._handle(asked), self._service.group), send)


async def reply_of(answering: Awaitable[Reply], group: str) -> Reply:
    """The reply that comes of answering a question, which may be that there is no answer; `group` is who was asked."""
    try:
        return await answering
    except Retry as retry:
        return refusal("Unavailable", str(retry))
    except Reject as reason:
        return refusal("Invalid", str(reason))
    except BusError as error:
        log.warning("a question waits for the bus", extra={"group": group, "error": str(error)})
        return refusal("Unavailable", str(error))
    except Exception as error:
        log.exception("a question could not be answered", extra={"group": group})
        return refusal("Failed", f"{group} failed: {type(error).__name__}")


async def _send(reply: Reply, send: Send) -> None:
    try:
        await send(reply)
    except ValueError as error:  # larger than a message may be
        await _send(refusal("Failed", f"the answer cannot be sent: {error}"), send)
    except (BusError, OSError, TimeoutError) as error:
        log.warning("an answer could not be sent", extra={"error": str(error)})


def refusal(code: UnansweredCode, reason: str) -> Reply:
    """The reply which says that there is no answer, and why."""
    words = " ".join(reason[:LONGEST_REASON].split())  # a header is one line
    return Reply(b"", {CODE_HEADER: code, REASON_HEADER: words.encode("ascii", "replace").decode()})


def answered(payload: bytes, headers: Mapping[str, str] | None) -> Reply:
    """What came as a reply. Raises `Unanswered` where it says that there is no answer."""
    if not headers:
        return Reply(payload)
    if code := headers.get(CODE_HEADER):
        known: UnansweredCode = code if code in _CODES else "Failed"  # type: ignore[assignment]  # one of its words
        raise Unanswered(known, headers.get(REASON_HEADER, ""))
    return Reply(payload, headers)

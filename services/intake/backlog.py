"""Requests that wait in the stream: whether one that is at hand was published before, and nobody saw that yet."""

from services.intake import core
from shared.aio.lru import Lru
from shared.broker.bus import Bus, WaitingMessage
from shared.cloudevents import InvalidEvent, parse
from shared.pipeline.requests import STREAM, RequestSubject

REMEMBERED = 10_000


class Backlog:
    """The stream of requests, in which a message stays until it is answered."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._none_before: Lru[str, int] = Lru(REMEMBERED)  # what is published later has a higher sequence

    async def first(self, key: str, subject: str, before: int) -> int | None:
        """The first place in the stream, before another one, of a request that waits there; None: it does not.

        `key` is that of the request, `subject` where it was published. Raises BusError.
        """
        if before <= (self._none_before.get(key) or 0):
            return None
        try:
            asked = RequestSubject.parse(subject)
        except ValueError:  # an entry of an earlier release has none
            return None
        async for message in self._bus.waiting(STREAM.name, subject, before):
            if _key(asked, message) == key:
                return message.sequence
        self._none_before.put(key, before)
        return None


def _key(asked: RequestSubject, message: WaitingMessage) -> str:
    try:
        return core.key_of(asked, parse(message.payload, message.headers))
    except InvalidEvent:
        return ""

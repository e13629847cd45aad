"""What is told in memory, and who listens."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shared.broker.bus import Asked


class Told(NamedTuple):
    """What was published to whoever listens; it is kept for tests to look at."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]


class MemoryListening:
    """Somebody who listens, among all who do."""

    def __init__(self, everybody: "list[MemoryListening]", subject: str, take: Callable[[Asked], None]) -> None:
        self.subject = subject
        self.take = take
        self._everybody = everybody
        everybody.append(self)

    async def stop(self) -> None:
        if self in self._everybody:
            self._everybody.remove(self)

"""A stream in the memory of one process: what it keeps, and what it lets go."""

import msgspec

from shared.broker.bus import ID_HEADER, BusError, Stream


class Stored(msgspec.Struct, frozen=True):
    """A message in a stream."""

    sequence: int
    subject: str
    payload: bytes
    headers: dict[str, str]
    time: float


class MemoryStream:
    """Messages by sequence, the last sequence per subject, and the ids seen within the window."""

    def __init__(self, settings: Stream) -> None:
        self.settings = settings
        self.messages: dict[int, Stored] = {}
        self.last = 0
        self._bytes = 0
        self._by_subject: dict[str, int] = {}
        self._ids: dict[str, float] = {}

    def add(self, subject: str, payload: bytes, headers: dict[str, str], now: float) -> bool:
        """Store a message; False when its id is known. Old messages make room for it, but for those of a backlog."""
        self._forget(now)
        if headers[ID_HEADER] in self._ids:
            return False
        if self.settings.backlog:
            self._check_room(subject, len(payload))
        self._ids[headers[ID_HEADER]] = now
        if self.settings.last_per_subject:
            self.remove(self._by_subject.get(subject, 0))
            self._by_subject[subject] = self.last + 1
        self.last += 1
        self.messages[self.last] = Stored(self.last, subject, payload, headers, now)
        self._bytes += len(payload)
        while self._bytes > self.settings.max_bytes:
            self.remove(next(iter(self.messages)))
        return True

    def remove(self, sequence: int) -> None:
        if message := self.messages.pop(sequence, None):
            self._bytes -= len(message.payload)

    def _check_room(self, subject: str, size: int) -> None:
        if sum(each.subject == subject for each in self.messages.values()) >= self.settings.backlog:
            raise BusError(f"{self.settings.name}: too many messages of {subject} wait")
        if self._bytes + size > self.settings.max_bytes:
            raise BusError(f"{self.settings.name} is full")

    def _forget(self, now: float) -> None:
        while self._ids and next(iter(self._ids.values())) <= now - self.settings.duplicate_window:
            del self._ids[next(iter(self._ids))]
        while self.messages and (first := next(iter(self.messages.values()))).time <= now - self.settings.max_age:
            self.remove(first.sequence)

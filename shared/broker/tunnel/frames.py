"""What the two ends of a stream tell each other, and how much may be on its way. Pure.

Every frame of a stream has a number, one more than the one before it in the same direction. A gap, or more bytes than
were granted, breaks the stream: what is lost is not asked for again, because TLS above would not go on either.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

WINDOW: Final = 256 * 1024
"""Bytes of a stream that may wait at the end which they go to."""

CHUNK: Final = 32 * 1024
"""Bytes in one frame: what else goes over the same connection to the broker waits for no more than that."""

MOST_WINDOW: Final = 16 << 20
STREAM: Final = 8
"""Bytes of the name of a stream."""

_LONGEST_REASON: Final = 200  # characters
_HEAD: Final = struct.Struct(f"!B{STREAM}sI")


class FrameKind(IntEnum):
    """What a frame says."""

    DATA = 1
    GRANT = 2
    """So many bytes more may be sent."""
    END = 3
    """Nothing more comes, and nothing more is taken."""
    RESET = 4
    """The stream is broken, for the reason that the body says."""


_KINDS: Final = frozenset(map(int, FrameKind))


class Broken(Exception):
    """A stream cannot go on; the message says why."""


class Frame(NamedTuple):
    """One message of a stream."""

    kind: FrameKind
    stream: bytes
    number: int
    body: bytes = b""

    def encoded(self) -> bytes:
        return _HEAD.pack(self.kind, self.stream, self.number) + self.body

    @property
    def granted(self) -> int:
        """The bytes that a GRANT grants."""
        return int.from_bytes(self.body, "big")


def frame(payload: bytes) -> Frame | None:
    """What a message says; None for what is no frame."""
    if not _HEAD.size <= len(payload) <= _HEAD.size + CHUNK:
        return None
    kind, stream, number = _HEAD.unpack_from(payload)
    body = payload[_HEAD.size :]
    if kind not in _KINDS or (kind == FrameKind.GRANT and len(body) != 4):
        return None
    return Frame(FrameKind(kind), stream, number, body)


def reason_of(found: Frame) -> str:
    """Why a stream was reset, as the other end said: that may be anything, and is made fit to be shown."""
    said = found.body[:_LONGEST_REASON].decode(errors="replace")
    return "".join(each if each.isprintable() else "?" for each in said) or "no reason was given"


class Outgoing:
    """What one end sends: the numbers of its frames, and how many bytes it may still send."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._number = 0
        self.room = 0
        """Bytes that may be sent now."""

    def granted(self, more: int) -> None:
        """The other end takes more. Raises Broken for more than any window."""
        self.room += more
        if self.room > MOST_WINDOW:
            raise Broken("the other end grants more than there can be room for")

    def frame(self, kind: FrameKind, body: bytes = b"") -> Frame:
        """The next frame. What it carries counts against the room."""
        if kind is FrameKind.DATA:
            if len(body) > self.room:
                raise ValueError("more bytes than the other end takes")
            self.room -= len(body)
        number, self._number = self._number, (self._number + 1) & 0xFFFFFFFF
        return Frame(kind, self._stream, number, body)


class Incoming:
    """What one end gets: whether it is whole, and how much of it waits. At most `window` bytes do."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._number = 0
        self._free = window  # bytes that the other end may still send
        self._done = 0  # bytes that were passed on, and are not granted anew yet

    def arrived(self, found: Frame) -> None:
        """A frame came. Raises Broken where one before it is missing, or it holds more than was granted."""
        if found.number != self._number:
            raise Broken("a message was lost on its way")
        self._number = (self._number + 1) & 0xFFFFFFFF
        if found.kind is FrameKind.DATA:
            self._free -= len(found.body)
            if self._free < 0:
                raise Broken("the other end sent more than it may")

    def passed_on(self, size: int) -> int:
        """So many bytes were passed on; how many are to be granted for that, which may be none yet."""
        self._done += size
        if self._done * 4 < self._window:
            return 0
        more, self._done = self._done, 0
        self._free += more
        return more


def grant(more: int) -> bytes:
    """The body of a GRANT."""
    return more.to_bytes(4, "big")

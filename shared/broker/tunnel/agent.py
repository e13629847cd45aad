"""The side of the agent: it takes what workers open, and dials the one server that its own settings name."""

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from shared.broker.bus import Asked, Bus, Consumption, Listening, Reject, Reply, Retry, Service
from shared.broker.tunnel import subjects
from shared.broker.tunnel.frames import MOST_WINDOW, STREAM, WINDOW, frame
from shared.broker.tunnel.pipe import Pipe, Traffic

log = logging.getLogger("moorage.tunnel")

SILENT_AFTER: Final = 30.0  # seconds without a word of a worker, after which it counts as dead
_TICK: Final = 5.0  # seconds between two looks at what is silent
_DIALLING: Final = 32  # connections that are being made at once

Dial = Callable[[], Awaitable[socket.socket]]


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A worker asks for a stream, whose name is in hexadecimal; `window` is how many bytes it takes at first."""

    caller: str
    stream: str
    window: int


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """Which copy of the agent has it, and how many bytes that takes at first."""

    agent: str
    window: int


class RollCall(msgspec.Struct, frozen=True, kw_only=True):
    """A worker asks whether a copy of the agent is there, and says which streams it has or is about to open."""

    caller: str
    streams: list[str]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Which of these the copy does not have."""

    unknown: list[str]


class _Stream:
    def __init__(self, caller: str, pipe: Pipe) -> None:
        self.caller = caller
        self.pipe = pipe
        self.missed = 0  # how often the worker was asking and did not name it


class Agent:
    """One copy of the agent of a tunnel."""

    def __init__(
        self, bus: Bus, tunnel: str, dial: Dial, *, most: int, idle: float, clock: Callable[[], float]
    ) -> None:
        """`dial` makes a connection, or raises OSError. At most `most` streams at once; `idle` seconds without a byte
        end one. `clock`: any that only goes on.
        """
        self.traffic = Traffic()
        self.opened: Counter[str] = Counter()
        """How many streams were asked for, by what became of them."""
        self._bus = bus
        self._tunnel = tunnel
        self._dial = dial
        self._most = most
        self._idle = idle
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._streams: dict[bytes, _Stream] = {}
        self._dialling = 0
        self._heard: dict[str, float] = {}  # when each worker last said that it is there
        self._parts: list[Consumption] = []
        self._listening: Listening | None = None

    def __len__(self) -> int:
        return len(self._streams)

    async def start(self) -> None:
        """Begin to take what workers ask for. Raises Forbidden when NATS denies it."""
        self._listening = await self._bus.listen(
            subjects.upward(self._tunnel, self._name), self._take, self._interrupted
        )
        look = Service(subject=subjects.looking(self._tunnel, self._name), group=self._name)
        self._parts.append(await self._bus.serve(look, self._look))
        opening = Service(subject=subjects.opening(self._tunnel), group="tunnel", concurrency=_DIALLING)
        self._parts.append(await self._bus.serve(opening, self._open))

    async def run(self) -> None:
        """End what is silent, for as long as the agent runs."""
        while True:
            await asyncio.sleep(_TICK)
            self.sweep()

    def sweep(self) -> None:
        """End the streams of workers that are heard of no more, and such as nothing goes through."""
        now, loop = self._clock(), asyncio.get_running_loop()
        silent = {caller for caller, heard in self._heard.items() if now - heard > SILENT_AFTER}
        for each in list(self._streams.values()):
            if each.caller in silent:
                each.pipe.end("the worker is heard of no more")
            elif loop.time() - each.pipe.last_active > self._idle:
                each.pipe.end(f"nothing came or went for {self._idle:g} s")
        there = {each.caller for each in self._streams.values()}
        self._heard = {caller: heard for caller, heard in self._heard.items() if caller in there - silent}

    async def stop(self) -> None:
        """Take nothing new, and break all off: workers ask another copy, or try again."""
        while self._parts:
            await self._parts.pop().drain(1.0)
        for each in list(self._streams.values()):
            each.pipe.end("the agent ends")
        await asyncio.gather(*self.traffic.telling, return_exceptions=True)
        if self._listening is not None:
            await self._listening.stop()
            self._listening = None

    async def _open(self, asked: Asked) -> Reply:
        wanted, stream = _decoded(asked.payload)
        if stream in self._streams:
            raise Reject("there is a stream of that name")
        if len(self._streams) + self._dialling >= self._most:
            self.opened["full"] += 1
            raise Retry(1.0, f"it has {self._most} connections, and takes no more")
        self._dialling += 1
        try:
            sock = await self._dial()
        except (OSError, TimeoutError) as error:
            self.opened["unreachable"] += 1
            log.warning("the API server cannot be reached", extra={"error": str(error) or type(error).__name__})
            raise Retry(1.0, "it cannot reach its API server; its log says why") from None
        finally:
            self._dialling -= 1
        if stream in self._streams:
            sock.close()
            raise Reject("there is a stream of that name")
        self.opened["opened"] += 1
        self._heard[wanted.caller] = self._clock()
        pipe = Pipe(stream, sock, lambda pipe: self._drop(pipe.stream), self.traffic)
        self._streams[stream] = _Stream(wanted.caller, pipe)
        subject = subjects.downward(self._tunnel, wanted.caller)
        pipe.begin(lambda payload: self._bus.tell(subject, payload), wanted.window)
        return Reply(msgspec.json.encode(Opened(agent=self._name, window=WINDOW)))

    async def _look(self, asked: Asked) -> Reply:
        try:
            look = msgspec.json.decode(asked.payload, type=RollCall)
            named = {bytes.fromhex(each) for each in look.streams}
        except (msgspec.MsgspecError, ValueError) as error:
            raise Reject(f"no question about streams: {error}") from None
        if look.caller in self._heard:
            self._heard[look.caller] = self._clock()
        for stream, each in list(self._streams.items()):
            if each.caller == look.caller:
                each.missed = 0 if stream in named else each.missed + 1
                if each.missed > 1:  # the first time it may have been opened or ended just now
                    each.pipe.end("the worker has it no more", tell=False)
        unknown = [each.hex() for each in named if each not in self._streams]
        return Reply(msgspec.json.encode(Seen(unknown=unknown)))

    def _take(self, told: Asked) -> None:
        found = frame(told.payload)
        if found is None:
            return
        if (known := self._streams.get(found.stream)) is not None:
            known.pipe.take(found)

    def _interrupted(self) -> None:
        for each in list(self._streams.values()):
            each.pipe.end("the agent's connection to NATS was interrupted")

    def _drop(self, stream: bytes) -> None:
        self._streams.pop(stream, None)


def _decoded(payload: bytes) -> tuple[Open, bytes]:
    """What a worker asks for. Raises Reject for what is nothing of the kind."""
    try:
        wanted = msgspec.json.decode(payload, type=Open)
        stream = bytes.fromhex(wanted.stream)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Reject(f"no question for a stream: {error}") from None
    if len(stream) != STREAM or not subjects.is_token(wanted.caller) or not 0 < wanted.window <= MOST_WINDOW:
        raise Reject("no question for a stream")
    return wanted, stream

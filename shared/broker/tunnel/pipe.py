"""One stream: what is read from a socket goes to the other end, and what comes from there is written to it."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from shared.broker.bus import BusError
from shared.broker.tunnel.frames import CHUNK, Broken, Frame, FrameKind, Incoming, Outgoing, grant, reason_of

_LAST_WORDS: Final = 10.0  # seconds in which who reads from a socket may take what came last

Send = Callable[[bytes], Awaitable[None]]


class Traffic:
    """What all streams of a process carry together, in bytes."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.telling: set[asyncio.Task[None]] = set()


class Pipe:
    """A stream at work. It ends when either side is at its end, or breaks; the socket is closed then."""

    def __init__(self, stream: bytes, sock: socket.socket, ended: "Callable[[Pipe], None]", traffic: Traffic) -> None:
        """`ended` is called once, when nothing comes or goes any more."""
        self.stream = stream
        self.last_active = asyncio.get_running_loop().time()
        self.broken = ""
        """Why it broke; empty while it goes on, and where it came to its end."""
        self._socket = sock
        self._ended = ended
        self._traffic = traffic
        self._outgoing = Outgoing(stream)
        self._incoming = Incoming()
        self._waiting: deque[bytes] = deque()
        self._at_end = False  # of what comes
        self._news = asyncio.Event()  # something came
        self._room = asyncio.Event()  # something may be sent
        self._order = asyncio.Lock()  # frames are sent in the order of their numbers
        self._send: Send | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def begin(self, send: Send, room: int) -> None:
        """Begin to carry, where the other end takes `room` bytes at first."""
        if self._over:
            return
        self._send = send
        self._outgoing.granted(room)
        self._room.set()
        self._task = asyncio.create_task(self._run(), name="tunnel")
        self._task.add_done_callback(lambda _: self._socket.close())  # it may have been cancelled before it began

    def take(self, found: Frame) -> None:
        """Take what the other end sent."""
        if self._over:
            return
        self.last_active = asyncio.get_running_loop().time()
        if found.kind is FrameKind.RESET:  # it may come out of order, from who does not know the stream
            self.end(reason_of(found), tell=False)
            return
        try:
            self._incoming.arrived(found)
            if found.kind is FrameKind.GRANT:
                self._outgoing.granted(found.granted)
                self._room.set()
                return
        except Broken as error:
            self.end(str(error))
            return
        if found.kind is FrameKind.DATA:
            self._waiting.append(found.body)
            self._traffic.received += len(found.body)
        else:
            self._at_end = True
        self._news.set()

    def end(self, why: str, *, tell: bool = True) -> None:
        """Break it off; the other end is told, if it can be."""
        if self._over:
            return
        self.broken = why
        if tell and self._send is not None:
            last = asyncio.create_task(self._tell(Frame(FrameKind.RESET, self.stream, 0, why.encode()[:CHUNK])))
            self._traffic.telling.add(last)
            last.add_done_callback(self._traffic.telling.discard)
        self._close()
        if self._task is None:
            self._socket.close()
        elif self._task is not asyncio.current_task():
            self._task.cancel()

    def _close(self) -> None:
        self._over = True
        self._waiting.clear()
        self._ended(self)

    async def _run(self) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=self._socket, limit=CHUNK)
        except OSError:
            self.end("its socket is closed")
            return
        try:
            moving = (asyncio.create_task(self._outward(reader)), asyncio.create_task(self._inward(writer)))
            try:
                await asyncio.wait(moving, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in moving:
                    each.cancel()
                found = await asyncio.gather(*moving, return_exceptions=True)
            failed = next((each for each in found if isinstance(each, Exception)), None)
            if failed is None:
                if not self._over:
                    self._close()
            elif isinstance(failed, OSError | BusError):
                self.end("the connection behind it broke" if isinstance(failed, OSError) else str(failed))
            else:
                self.end("a fault of ours")
                raise failed
        finally:
            if self.broken:
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _outward(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            while data:
                while not self._outgoing.room:
                    self._room.clear()
                    await self._room.wait()
                part = data[: self._outgoing.room]
                data = data[len(part) :]
                self._traffic.sent += len(part)
                await self._put(FrameKind.DATA, part)
        await self._put(FrameKind.END)

    async def _inward(self, writer: asyncio.StreamWriter) -> None:
        while self._waiting or not self._at_end:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            data = self._waiting.popleft()
            writer.write(data)
            await writer.drain()
            if more := self._incoming.passed_on(len(data)):
                await self._put(FrameKind.GRANT, grant(more))

    async def _put(self, kind: FrameKind, body: bytes = b"") -> None:
        assert self._send is not None
        async with self._order:
            self.last_active = asyncio.get_running_loop().time()
            await self._send(self._outgoing.frame(kind, body).encoded())

    async def _tell(self, last: Frame) -> None:
        assert self._send is not None
        with contextlib.suppress(BusError):  # who hears nothing of it finds out when it looks
            await self._send(last.encoded())

"""One connection to an HTTP/1.1 server: a request at a time, and its answer as it comes."""

import asyncio
import zlib
from typing import Any, Final, cast

import httptools

from shared.kube.errors import TooLarge, Unreachable
from shared.kube.http.failures import why

_LONGEST_HEAD: Final = 64 << 10  # bytes
_LONGEST_ERROR: Final = 1 << 20  # bytes of the body of an answer that is not success
_WAITING: Final = 1 << 20  # bytes of a stream that nobody has read yet, above which the server has to wait
_GZIP: Final = 16 + zlib.MAX_WBITS


class Connection(asyncio.Protocol):
    """Asks one thing at a time, and gives the answer whole or as a stream.

    Whatever goes wrong, a cancellation too, ends the connection: what it would say next could belong to anything.
    `place` is what messages call the server.
    """

    def __init__(self, place: str) -> None:
        self.status = 0
        """Of the answer that is under way, or was the last; 0 before its head is there."""
        self.retry_after: str | None = None
        self.asked = 0
        """How many requests went out on it."""
        self.idle_since = 0.0
        """In the time of the event loop; whoever keeps connections sets it."""
        self._place = place
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._error: Unreachable | None = None
        self._paused = False
        self._reset(0)
        self._complete = True

    @property
    def reusable(self) -> bool:
        """True if another request may go out: the last answer is complete, and both sides go on."""
        if self._transport is None or self._transport.is_closing() or self._error is not None:
            return False
        return self._complete and self._goes_on and self._transport.get_write_buffer_size() == 0

    @property
    def unanswered(self) -> bool:
        """True if not one byte came for the last request, so that the server may never have seen it."""
        return self._heard == 0

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, message: bytes, most: int) -> bytes:
        """Send a request and take its whole answer: the body, of at most `most` bytes; `status` says the rest.

        Raises TooLarge, and Unreachable for an answer that does not come, breaks off, or is not HTTP.
        """
        self._send(message, most)
        self._whole = True
        await self._next()
        return self._body()

    async def begin(self, message: bytes) -> None:
        """Send a request, and wait until `status` is known. `chunk` and `rest` give the body. Raises Unreachable."""
        self._send(message, -1)
        while not self.status:
            await self._next()

    async def chunk(self) -> bytes:
        """What has come of the body since; empty at its end. Raises Unreachable where it breaks off."""
        while not (self._chunks or self._complete):
            await self._next()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return self._body()

    async def rest(self, most: int) -> bytes:
        """All that is left of the body, of at most `most` bytes."""
        parts: list[bytes] = []
        while part := await self.chunk():
            parts.append(part)
            if (most := most - len(part)) < 0:
                raise self._fail(TooLarge(f"{self._place} sent a larger body than we take"))
        return b"".join(parts)

    def _send(self, message: bytes, most: int) -> None:
        self._reset(most)
        self.asked += 1
        if self._error is not None or self._transport is None:
            raise self._error or Unreachable(f"{self._place}: closed the connection without an answer")
        self._transport.write(message)

    def _reset(self, most: int) -> None:
        """Be ready for an answer. `most` is how many bytes of its body are taken; a stream (-1) is paused instead."""
        self.status, self.retry_after = 0, None
        self._most = most
        self._heard = self._size = 0
        self._complete = self._whole = self._paused = self._framed = False
        self._goes_on = True
        self._inflate: Any = None
        self._chunks: list[bytes] = []

    def _body(self) -> bytes:
        if len(self._chunks) == 1:
            body = self._chunks.pop()
        else:
            body = b"".join(self._chunks)
            self._chunks.clear()
        self._size = 0
        return body

    async def _next(self) -> None:
        """Until more of the answer is there: all of it, where it is taken whole."""
        if self._error is not None:
            raise self._error
        if self._complete:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and (self._complete or not self._whole):
            self._waiter.set_result(None)

    def _fail(self, error: Unreachable) -> Unreachable:
        """End it for this reason, of which the first one counts."""
        if self._error is None:
            self._error = error
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
        self.abort()
        return self._error

    # What the transport tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's with TLS is none by its class

    def data_received(self, data: bytes) -> None:
        if self._complete or self._error is not None:  # nobody asked
            self._goes_on = False
            self.abort()
            return
        self._heard += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Unreachable(f"{self._place}: does not answer in HTTP"))
        if not self.status and self._heard > _LONGEST_HEAD:
            self._fail(Unreachable(f"{self._place}: does not answer in HTTP"))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._goes_on = False
        if not self._complete:
            if error is None and self.status and not self._framed:  # the end of the connection is that of the body
                self._end()
            elif error is not None:
                self._fail(Unreachable(f"{self._place}: {why(error)}"))
            elif self.status:
                self._fail(Unreachable(f"{self._place}: broke off its answer"))
            else:
                self._fail(Unreachable(f"{self._place}: closed the connection without an answer"))

    # What the parser tells us

    def on_message_begin(self) -> None:
        if self._complete:  # an answer that nobody asked for, behind the one that was
            self._goes_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._framed = True
            case b"retry-after":
                self.retry_after = value.decode("latin-1")
            case b"content-encoding" if value.lower() == b"gzip" and self._most >= 0:
                self._inflate = zlib.decompressobj(_GZIP)
            case b"content-encoding" if value.lower() != b"identity":
                self._fail(Unreachable(f"{self._place}: answers in an encoding that nobody asked for"))

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:  # only says that the answer is still to come
            return
        self.status = status
        if status >= 300 and self._most >= 0:
            self._most = _LONGEST_ERROR
        self._framed = self._framed or status in {204, 304}
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self._complete or self._error is not None:
            return
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, self._most - self._size + 1)
            except zlib.error:
                self._fail(Unreachable(f"{self._place}: broke off its answer"))
                return
        self._size += len(data)
        if 0 <= self._most < self._size:
            self._fail(TooLarge(f"{self._place} sent a body of over {self._most} bytes"))
        elif data:
            self._chunks.append(data)
            self._wake()
            if self._most < 0 and self._size > _WAITING and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if not self._complete and self.status:
            self._goes_on = self._goes_on and self._parser.should_keep_alive()
            if self._inflate is not None and not self._inflate.eof:
                self._fail(Unreachable(f"{self._place}: broke off its answer"))
            else:
                self._end()

    def _end(self) -> None:
        self._complete = True
        self._wake()

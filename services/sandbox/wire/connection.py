"""One connection of a client: requests as they come, and their answers in that order. HTTP/1.1 on httptools.

A general server makes of each request a scope, an event, messages and two timers, none of which is needed
here (ADR 40).
"""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, cast
from urllib.parse import parse_qsl, unquote

import httptools

from services.sandbox.errors import ApiError, too_large
from services.sandbox.wire.faults import CutError
from services.sandbox.wire.http import BODY_LIMIT, Request, Response, refusal

HEAD_SECONDS: Final = 10.0
HEAD_LIMIT: Final = 64 * 1024
BODY_SECONDS: Final = 30.0
MOST_WAITING: Final = 16  # requests that came before the one ahead of them was answered
WHOLE: Final = 8192  # bytes of a stream that go out in one write: an event of most objects, or some that come at once
PIECE: Final = 2048  # of more than that, as a TLS connection keeps a buffer of its largest write as long as it lives

_STATUS_LINES: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}
_NOT_HTTP: Final = b"Invalid HTTP request received."
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f]")

log = logging.getLogger(__name__)


class Handler(Protocol):
    """Who answers requests."""

    def authenticate(self, request: Request) -> object:
        """Refuse strangers by their head alone. Raises ApiError."""

    async def handle(self, request: Request) -> Response:
        """Answer; never raises."""

    def end_watches(self) -> None:
        """End every stream that is open, since the server stops."""


class _Asked(NamedTuple):
    """A request that came, or as much of it as is needed to refuse it; whether the connection goes on after it."""

    request: Request
    refused: ApiError | None
    goes_on: bool


class Joined:
    """Sends together what is written together: events that come at once.

    Each write of its own is a TLS record, a system call, and one more time that the client is woken.
    """

    __slots__ = ("_parts", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send with what follows at once, or now if it is more than a piece."""
        self._size += len(data)
        self._parts.append(data)
        if self._size > PIECE:
            self.flush()
        elif len(self._parts) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        if self._parts:
            together = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self._transport.is_closing():
                self._transport.write(together)


class ClientConnection(asyncio.Protocol):
    """See the module. It is in `every` for as long as it is open."""

    def __init__(self, handler: Handler, every: "set[ClientConnection]") -> None:
        self.idle_since: float | None = None
        """By the clock of the loop, while no request is under way."""
        self._handler = handler
        self._every = every
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # what follows the last is not looked at
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[_Asked] = deque()
        self._streaming = self._lost = self._ending = self._held = False
        self._drained: asyncio.Future[None] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._request: Request | None = None  # whose head is here, and whose body is still coming
        self._began = True
        self._size = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def close_when_done(self) -> None:
        """Take no further request; end once those that came are answered."""
        self._ending = True
        if self._task is None and not self._lost:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if not self._lost:
            self._transport.abort()

    # What the transport tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's with TLS is none by its class
        self._every.add(self)
        self._overdue = self._loop.call_later(HEAD_SECONDS, self._is_overdue)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why is no matter
        self._lost = self._ending = True
        self._every.discard(self)
        self.closed.set_result(None)
        self._on_time()
        self._waiting.clear()
        self.resume_writing()
        if self._streaming and self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing is served by another protocol: the request is answered like any
        except httptools.HttpParserError:
            self._ending = True
            self._transport.write(_head(400, "text/plain; charset=utf-8", len(_NOT_HTTP), goes_on=False) + _NOT_HTTP)
            self._transport.close()
            return
        if self._began and self._request is None and self._size > HEAD_LIMIT:
            self._transport.abort()
        elif self._request is not None and self._size > BODY_LIMIT + HEAD_LIMIT:  # trailers count, too
            self._take(self._request, too_large(BODY_LIMIT))
        elif self._began and self._overdue is None and not self._ending:  # most requests come whole, and need no timer
            seconds = HEAD_SECONDS if self._request is None else BODY_SECONDS
            self._overdue = self._loop.call_later(seconds, self._is_overdue)

    def _is_overdue(self) -> None:
        self._overdue = None
        if self._request is None:
            self._transport.abort()
        else:
            said = "the body of the request was too slow in coming"
            self._take(self._request, ApiError(408, "Timeout", said))

    def _on_time(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    # What the parser tells us

    def on_message_begin(self) -> None:
        self._on_time()
        self.idle_since = None
        self._began, self._request = True, None
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:
            return  # a trailer changes nothing of a request whose sender is known
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key.startswith("impersonate-") and key in self._headers:
            text = f"{self._headers[key]},{text}"
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        if self._ending:
            return
        self._on_time()
        self._size = 0
        url, headers = httptools.parse_url(self._url), self._headers
        path, query = url.path.decode("ascii"), url.query
        request = self._request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=unquote(path) if "%" in path else path,
            query=dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {},
            headers=headers,
        )
        if request.method in ("GET", "HEAD"):
            return
        try:
            self._handler.authenticate(request)  # what strangers send is not worth its memory
        except ApiError as error:
            self._take(request, error)
            return
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > BODY_LIMIT:
            self._take(request, too_large(BODY_LIMIT))
        elif headers.get("expect", "").lower() == "100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self._ending or self._request is None:
            return
        if self._request.method not in ("GET", "HEAD"):
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._ending or self._request is None:
            return
        body = self._body
        self._request.body = body[0] if len(body) == 1 else b"".join(body)
        upgrade, headers = self._parser.should_upgrade(), self._request.headers
        if len(self._request.body) > BODY_LIMIT:
            self._take(self._request, too_large(BODY_LIMIT))
        elif upgrade and (headers.get("content-length", "0") != "0" or "transfer-encoding" in headers):
            said = "a request for another protocol has no body"  # the parser would take it for the next request
            self._take(self._request, ApiError(400, "BadRequest", said))
        else:
            persistent = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
            self._take(self._request, None, goes_on=persistent and not upgrade)

    # Answers

    def _take(self, request: Request, refused: ApiError | None, *, goes_on: bool = False) -> None:
        """Answer a request, in its turn. What comes after one that does not go on is not looked at."""
        self._on_time()
        self._began, self._request, self._size = False, None, 0
        self._ending = self._ending or not goes_on
        self._waiting.append(_Asked(request, refused, goes_on))
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all())
        elif len(self._waiting) >= MOST_WAITING:
            self._held = True
            self._transport.pause_reading()

    async def _answer_all(self) -> None:
        try:
            while self._waiting and not self._lost:
                await self._answer(self._waiting.popleft())
        except Exception:
            log.exception("unexpected error on a connection")
            self.abort()
        finally:
            self._task = None
            if not self._lost:
                self.idle_since = self._loop.time()
                if self._ending:
                    self._transport.close()
                elif self._held:
                    self._held = False
                    self._transport.resume_reading()

    async def _answer(self, asked: _Asked) -> None:
        request, goes_on = asked.request, asked.goes_on
        response = await self._handler.handle(request) if asked.refused is None else refusal(asked.refused)
        if self._drained is not None:
            await self._drained
        if self._lost:
            if response.stream is not None:
                await response.stream.aclose()  # type: ignore[attr-defined]  # our streams are generators
            return
        if response.stream is not None:
            await self._stream(response, response.stream, whole="content-length" in response.headers, goes_on=goes_on)
            return
        head = _head(response.status, response.content_type, len(response.body), response.headers, goes_on=goes_on)
        self._transport.write(head if request.method == "HEAD" else head + response.body)

    async def _stream(self, response: Response, stream: AsyncIterator[bytes], *, whole: bool, goes_on: bool) -> None:
        """Send chunks until the stream ends or the client goes; `whole`: of a length that the head tells."""
        out = Joined(self._transport)
        self._streaming = True
        try:
            out.write(_head(response.status, response.content_type, None, response.headers, goes_on=goes_on))
            async for chunk in stream:
                piece = WHOLE if len(chunk) <= WHOLE else PIECE
                for start in range(0, len(chunk), piece):
                    part = chunk[start : start + piece]
                    out.write(part if whole else b"%x\r\n%b\r\n" % (len(part), part))
                    if self._drained is not None:
                        await self._drained
            if not whole:
                out.write(b"0\r\n\r\n")
        except CutError:
            self._ending = True  # without its end, the answer is cut off
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._lost or task is None:
                raise  # the server stops
            task.uncancel()
        finally:
            self._streaming = False
            out.flush()
            await stream.aclose()  # type: ignore[attr-defined]  # our streams are generators


def _head(
    status: int, content_type: str, length: int | None, more: dict[str, Any] | None = None, *, goes_on: bool
) -> bytes:
    """The head of an answer; without a length it is one in chunks, unless `more` has one."""
    lines = [_STATUS_LINES[status], _date(int(time.time())), "content-type: ", content_type, "\r\n"]
    for name, value in (more or {}).items():
        lines += (name, ": ", _CONTROLS.sub(" ", value), "\r\n")
    if length is not None:
        lines += ("content-length: ", str(length), "\r\n")
    elif not (more and "content-length" in more):
        lines.append("transfer-encoding: chunked\r\n")
    lines.append("\r\n" if goes_on else "connection: close\r\n\r\n")
    return "".join(lines).encode("latin-1", "replace")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return f"date: {formatdate(second, usegmt=True)}\r\n"

"""The sandbox behind plain ASGI, on uvicorn."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from services.sandbox.errors import ApiError, too_large
from services.sandbox.wire.faults import CutError
from services.sandbox.wire.http import BODY_LIMIT, Request, Response, refusal

if TYPE_CHECKING:
    from uvicorn import Server

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
KEEP_ALIVE_SECONDS = 90
HEAD_SECONDS = 10.0
HEAD_LIMIT = 64 * 1024
BODY_SECONDS = 30.0
SHUTDOWN_SECONDS = 2
PIECE = 2048  # bytes of a stream in one write: a TLS connection keeps a buffer of its largest as long as it lives


class Handler(Protocol):
    """Who answers requests."""

    def authenticate(self, request: Request) -> object:
        """Refuse strangers by their head alone. Raises ApiError."""

    async def handle(self, request: Request) -> Response:
        """Answer; never raises."""

    def end_watches(self) -> None:
        """End every stream that is open, since the server stops."""


class Joined:
    """A transport that sends together what is written together: head and body of an answer, events that come at once.

    Each write of its own is a TLS record, a system call, and one more time that the client is woken.
    """

    __slots__ = ("_parts", "_size", "_transport", "abort")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._size = 0
        self.abort = transport.abort

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with what follows at once, or now if it is more than a piece."""
        self._size += len(data)
        self._parts.append(data)
        if self._size > PIECE:
            self._flush()
        elif len(self._parts) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            together = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self._transport.is_closing():
                self._transport.write(together)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes any free one. Raises OSError where the port is taken."""
    # The protocol is named so that asyncio sees TCP in the connections, and sets TCP_NODELAY on them.
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.asynccontextmanager
async def serving(handler: Handler, sock: socket.socket, *, certificate: Path | None = None) -> AsyncIterator[None]:
    """Serve on a socket within this block, then drop the watches and stop; by TLS where a file that holds a certificate
    and its key is given."""
    server = _server(handler, certificate)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise OSError("the server ended before it began")
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        handler.end_watches()
        await task


def _server(handler: Handler, certificate: Path | None) -> "Server":
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Patient(HttpToolsProtocol):
        """Waits for the head of a request for so long and so many bytes, and then hangs up."""

        head = 0
        overdue: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(Joined(transport))  # type: ignore[arg-type]  # it stands in for one
            self.on_message_begin()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self.head += len(data)
            super().data_received(data)
            if self.overdue and self.head > HEAD_LIMIT:
                self.transport.abort()

        def on_message_begin(self) -> None:
            self._arrived()
            self.overdue = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._arrived()
            super().on_headers_complete()

        def _arrived(self) -> None:
            self.head = 0
            if self.overdue:
                self.overdue.cancel()
                self.overdue = None

    class Quiet(uvicorn.Server):
        """Leaves signals to whoever runs it."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app(handler),
        http=Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what clients break off or send amiss is no event of ours
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=certificate,
    )
    return Quiet(config)


def app(handler: Handler) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """The ASGI application."""

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = _request(scope)
        try:
            if request.method not in ("GET", "HEAD"):
                handler.authenticate(request)  # what strangers send is not worth its memory
                request.body = await _read(receive, request.headers.get("content-length", ""))
            response = await handler.handle(request)
        except ApiError as error:
            response = refusal(error)
            response.headers["connection"] = "close"  # the rest of the body is not read
        except ConnectionError:
            return  # half a body is no request
        headers = [(b"content-type", response.content_type.encode())]
        headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers.items()]
        if response.stream is None:
            headers.append((b"content-length", str(len(response.body)).encode()))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})
            return
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await _stream(response.stream, receive, send)

    return serve


def _request(scope: Message) -> Request:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{text}" if name in headers and name.startswith("impersonate-") else text
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers=headers,
    )


async def _read(receive: Receive, announced: str) -> bytes:
    """The body; no more than the limit is ever held, for no longer than its time. Raises ApiError 408 and 413, and
    ConnectionError if the client goes."""
    body = bytearray()
    if announced.isdigit() and int(announced[:20]) > BODY_LIMIT:
        raise too_large(BODY_LIMIT)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                body += message.get("body", b"")
                if len(body) > BODY_LIMIT:
                    raise too_large(BODY_LIMIT)
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise ApiError(408, "Timeout", "the body of the request was too slow in coming") from None


async def _left(receive: Receive, sending: asyncio.Task[None]) -> None:
    """Stop sending once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    sending.cancel()


async def _stream(stream: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send chunks until the stream ends or the client goes."""
    sending = asyncio.current_task()
    assert sending is not None
    leaving = asyncio.ensure_future(_left(receive, sending))
    try:
        # An empty chunk makes the server send the headers, which clients wait for, before the first event.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        async for chunk in stream:
            for start in range(0, len(chunk), PIECE):
                await send({"type": "http.response.body", "body": chunk[start : start + PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except CutError:
        pass  # without its end, the server cuts the answer off
    except asyncio.CancelledError:
        if not leaving.done():
            raise  # the server stops
        sending.uncancel()
    finally:
        leaving.cancel()
        await stream.aclose()  # type: ignore[attr-defined]  # our streams are generators

"""`/healthz` (the process is alive), `/readyz` (it takes work) and `/metrics`, over the smallest HTTP that suffices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from shared.process.metrics import CONTENT_TYPE, Reading, render

READ_TIMEOUT = 5.0  # seconds
LIMIT = 8192  # bytes of a request's head


@asynccontextmanager
async def serve(
    host: str, port: int, ready: Callable[[], str], readings: Callable[[], Iterable[Reading]]
) -> AsyncIterator[int | None]:
    """Serve these paths; `ready()` returns why the process is not ready, or an empty string.

    Yields the port (None when `port` is -1 and nothing is served). Raises `OSError` when the port is taken.
    """
    if port < 0:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(READ_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, ready, readings))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=LIMIT)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _response(head: bytes, ready: Callable[[], str], readings: Callable[[], Iterable[Reading]]) -> bytes:
    path = head.split(b" ", 2)[1] if head.count(b" ") >= 2 else b""
    status, content_type = "200 OK", "text/plain; charset=utf-8"
    if path == b"/healthz":
        text = "ok\n"
    elif path == b"/readyz":
        reason = ready()
        status, text = ("503 Service Unavailable", f"{reason}\n") if reason else (status, "ok\n")
    elif path == b"/metrics":
        content_type, text = CONTENT_TYPE, render(readings())
    else:
        status, text = "404 Not Found", "try /healthz, /readyz or /metrics\n"
    body = text.encode()
    fields = f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}".encode() + body

"""`/healthz` (the process is alive) and `/readyz` (it takes work), over the smallest HTTP that probes speak."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

READ_TIMEOUT = 5.0  # seconds
LIMIT = 8192  # bytes of a request's head


@asynccontextmanager
async def serve(host: str, port: int, ready: Callable[[], str]) -> AsyncIterator[int | None]:
    """Serve both paths; `ready()` returns why the process is not ready, or an empty string.

    Yields the port (None when `port` is -1 and nothing is served). Raises `OSError` when the port is taken.
    """
    if port < 0:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(READ_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, ready))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=LIMIT)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _response(head: bytes, ready: Callable[[], str]) -> bytes:
    path = head.split(b" ", 2)[1] if head.count(b" ") >= 2 else b""
    if path == b"/healthz":
        status, text = "200 OK", "ok"
    elif path == b"/readyz":
        reason = ready()
        status, text = ("503 Service Unavailable", reason) if reason else ("200 OK", "ok")
    else:
        status, text = "404 Not Found", "try /healthz or /readyz"
    body = f"{text}\n".encode()
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body

"""The sandbox behind a socket: connections of clients, by TLS or without."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from services.sandbox.wire.connection import ClientConnection, Handler

KEEP_ALIVE_SECONDS = 90.0
SWEEP_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0
BACKLOG = 2048  # connections that wait to be accepted: all that workers have to targets may come at once


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
    loop, every = asyncio.get_running_loop(), set[ClientConnection]()
    context = _context(certificate) if certificate is not None else None
    server = await loop.create_server(lambda: ClientConnection(handler, every), sock=sock, backlog=BACKLOG, ssl=context)
    sweeping = asyncio.create_task(_sweep(every))
    try:
        yield
    finally:
        sweeping.cancel()
        server.close()
        handler.end_watches()
        for connection in tuple(every):
            connection.close_when_done()
        if every:
            await asyncio.wait([connection.closed for connection in every], timeout=SHUTDOWN_SECONDS)
        for connection in tuple(every):
            connection.abort()


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def _sweep(every: set[ClientConnection]) -> None:
    """Close the connections on which nothing was asked for a while."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        for connection in tuple(every):
            if connection.idle_since is not None and connection.idle_since < oldest:
                connection.close_when_done()

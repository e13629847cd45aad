"""Tunnels for tests: a server with TLS that only counts and answers, agents beside it, and clients through them."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from services.sandbox.wire.certificate import self_signed
from services.tunnel.dialling import ApiEndpoint
from shared.broker.bus import Bus, BusError
from shared.broker.tunnel.agent import Agent
from shared.broker.tunnel.caller import Tunnels
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import Unreachable

HOST = "target.example"
"""The name of the server in its certificate, which resolves nowhere."""

Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def content(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a request with as many bytes as its path says, once its body was read; `/` with its path."""
    path = head.split(b" ")[1]
    length = next(
        (int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    body = await reader.readexactly(length)
    asked = path.strip(b"/").partition(b"?")[0]
    found = b"x" * int(asked) if asked.isdigit() else b"%s %d" % (path, len(body))
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(found) + found)
    await writer.drain()


class TlsServer:
    """A server with a certificate for `HOST`; it counts its connections."""

    def __init__(self, folder: Path, answer: Answer = content) -> None:
        self.port = 0
        self.accepted = 0
        self.open = 0
        self._answer = answer
        self.certificate, key = self_signed([HOST], datetime.now(UTC))
        self._pem = folder / "server.pem"
        self._pem.write_bytes(self.certificate + key)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[TlsServer]":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pem)
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    @property
    def credentials(self) -> Credentials:
        return Credentials(server=f"https://{HOST}:6443", ca=self.certificate, token="secret-token")

    def client(self, tunnels: Tunnels, tunnel: str, timeout: float = 60.0) -> Client:
        """A client whose connections go through a tunnel."""

        async def connect() -> socket.socket:
            try:
                return await tunnels.connect(tunnel)
            except BusError as error:  # as `TargetClients` do
                raise Unreachable(str(error)) from error

        return Client(self.credentials, timeout=timeout, connect=connect)


@asynccontextmanager
async def agent(bus: Bus, tunnel: str, port: int, *, most: int = 100, idle: float = 600.0) -> AsyncIterator[Agent]:
    """An agent in this process that dials a port of loopback."""
    to = ApiEndpoint("127.0.0.1", port)
    found = Agent(bus, tunnel, lambda: to.dial(5.0), most=most, idle=idle, clock=time.monotonic)
    sweeping = asyncio.create_task(found.run())
    await found.start()
    try:
        yield found
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        await found.stop()

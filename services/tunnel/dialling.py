"""Connections to the one server that the agent's settings name."""

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple

from shared.process.main import StartError

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))  # seconds, times


class ApiEndpoint(NamedTuple):
    """Where an API server is."""

    host: str
    port: int

    async def dial(self, within: float) -> socket.socket:
        """A connection to it. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        failed: OSError = OSError("its name has no address")
        async with asyncio.timeout(within):
            for family, kind, protocol, _, address in await loop.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            ):
                sock = socket.socket(family, kind, protocol)
                try:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, address)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in _KEEPALIVE:
                        sock.setsockopt(socket.IPPROTO_TCP, option, value)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError as error:
                    sock.close()
                    failed = error
                except BaseException:
                    sock.close()
                    raise
                else:
                    return sock
        raise failed


def server(text: str, environment: Mapping[str, str]) -> ApiEndpoint:
    """The server that HOST:PORT names, or the one of the cluster that we run in. Raises StartError."""
    if not text:
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise StartError(
                "setting tunnel_server: it is empty, and this is no pod in a cluster: give it as HOST:PORT"
            )
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found = _SERVER.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise StartError(f"setting tunnel_server: {text!r} is not HOST:PORT")
    return ApiEndpoint(found[1].strip("[]"), int(found[2]))

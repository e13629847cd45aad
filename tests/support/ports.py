"""Ports of loopback."""

import asyncio
import contextlib
import socket


def free_port() -> int:
    """A port that is free just now, for a server that takes no port 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def listens(port: int) -> bool:
    """Whether a server takes connections there."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False

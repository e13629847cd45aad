"""Ports of loopback."""

import socket


def free_port() -> int:
    """A port that is free just now, for a server that takes no port 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

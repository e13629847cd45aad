"""Requests to API servers and open watches, as they are counted: of the hub, and of all targets together."""

from typing import Final, Literal

from shared.kube.transport import Meter
from shared.process.measured import REQUESTED, WATCHES


class ServerMeter(Meter):
    """Counts for one kind of server."""

    def __init__(self, server: Literal["hub", "target"]) -> None:
        self._server = server

    def asked(self, method: str, status: int, seconds: float) -> None:
        """A request ended."""
        REQUESTED.took(seconds, method, f"{status // 100}xx" if status else "none", self._server)

    def watching(self, change: int) -> None:
        """One more watch is open, or one less."""
        WATCHES.change(change, self._server)


HUB: Final = ServerMeter("hub")
TARGET: Final = ServerMeter("target")

"""Workspaces that are gone with everything in them, as nobody was left to take back what they had placed."""

import logging
from collections.abc import Awaitable, Callable, Collection

from shared.kube.errors import ApiError, KubeError

log = logging.getLogger("moorage.decision")


class VanishedWorkspaces:
    """Which workspaces are gone for certain, and since when this worker has seen so.

    A workspace counts once the hub has said for `grace` seconds, at every look, that it is gone. Any other answer, and
    none, begins the time anew, as a worker that starts does. `clock` gives seconds and is never set: one that is put
    forward would end the time at once.
    """

    def __init__(self, is_gone: Callable[[str], Awaitable[bool]], clock: Callable[[], float], grace: float) -> None:
        self._is_gone = is_gone
        self._clock = clock
        self._grace = grace
        self._since: dict[str, float] = {}

    async def among(self, suspects: Collection[str]) -> set[str]:
        """Those of the workspaces in question that are gone, as this look and those before it found."""
        now = self._clock()
        try:
            gone = {path for path in sorted(suspects) if await self._gone(path)}
        except KubeError as error:
            log.warning("nobody says whether workspaces are gone", extra={"error": str(error)})
            gone = set()
        for path in gone - self._since.keys():
            said = {"workspace": path, "seconds": self._grace}
            log.warning("a workspace is gone, what it placed is removed after a while", extra=said)
        self._since = {path: self._since.get(path, now) for path in gone}
        return {path for path, since in self._since.items() if now - since >= self._grace}

    async def _gone(self, path: str) -> bool:
        """True if it is gone; not where the answer is about this one alone, and something else. Raises KubeError."""
        try:
            return await self._is_gone(path)
        except ApiError as error:
            log.warning("it is not known whether a workspace is gone", extra={"workspace": path, "error": str(error)})
            return False

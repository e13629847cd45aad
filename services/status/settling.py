"""What was just applied may settle within moments: its report waits for that, and is written once instead of twice.

The message that says what was applied is not acknowledged meanwhile. Should this process die, it comes again, and
nothing is lost but the time until then.
"""

import asyncio
from collections.abc import Callable

from shared.model.refs import PlacementRef


class Settling:
    """At most `most` wait at once, each for so many `seconds`; for more there is no waiting."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._waiting: dict[tuple[PlacementRef, str], asyncio.Event] = {}

    def note(self, ref: PlacementRef, target: str) -> None:
        """There may be news of a placement in a target."""
        event = self._waiting.get((ref, target))
        if event is not None:
            event.set()

    async def wait(self, ref: PlacementRef, target: str, may_settle: Callable[[], bool]) -> bool:
        """Wait for news for as long as something may settle; whether the time ran out."""
        where = ref, target
        if where in self._waiting or len(self._waiting) >= self._most or not may_settle():
            return False
        event = self._waiting[where] = asyncio.Event()
        try:
            async with asyncio.timeout(self._seconds):
                while may_settle():
                    event.clear()
                    await event.wait()
        except TimeoutError:
            return True
        finally:
            del self._waiting[where]
        return False

"""Telling of events: each at least once, and in the stream once, as far as that can be known.

A fact is told again after a crash between what made it true and the event, or between the event and the answer to the
message that it came of. NATS drops what has an id that it has seen in the last ten minutes. What may have been told
long before is looked up first: the newest event of its kind about the placement says whether it was.
"""

import asyncio
import weakref
from collections.abc import Mapping
from typing import Final

from shared.aio.lru import Lru
from shared.broker.bus import Bus
from shared.cloudevents import CONTENT_TYPE, STRUCTURED
from shared.pipeline import lines
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent

_HEADERS: Final = {CONTENT_TYPE: STRUCTURED}
_REMEMBERED: Final = 20_000  # events of this process, of some 100 bytes each


class Teller:
    """Tells events over one bus, and remembers which it told."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._told: Lru[str, bool] = Lru(_REMEMBERED)
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def tell(self, event: PlacementEvent, headers: Mapping[str, str]) -> None:
        """Publish an event as part of the trace that the `headers` of a message name. Returns once it is stored; raises
        `BusError`.
        """
        if self._told.get(event.id):
            return
        async with self._turns.setdefault(event.id, asyncio.Lock()):  # two handlers may come to the same fact at once
            if self._told.get(event.id):
                return
            if not (event.repeated and await self._bus.newest_id(EVENTS_STREAM, event.subject) == event.id):
                await self._bus.publish(event.subject, event.encoded(headers), id=event.id, headers=_HEADERS)
                lines.write(event)
            self._told.put(event.id, True)

"""Messages of a consumer that one copy of a worker has in hand, and whose turn it is among them.

The broker delivers in the order of arrival. So a copy fetches more than it works on, and takes turns among the owners
of what it has (the workspaces). When its room for waiting messages is full, it gives back the newest of who has most
there, to be delivered again by the time at which it could be handled; that makes room for what lies behind. However
much one owner has in the broker, all of it passes by within moments, and others' messages come to hand.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from shared.aio.lru import Lru
from shared.aio.turns import SHARE, Turns
from shared.broker.bus import Bus, BusError, Consumer, Dealing, Delivery, Parking, unwatched
from shared.broker.dispatch import REMEMBERED, dispatch, message_id
from shared.broker.tempo import Tempo

log = logging.getLogger("moorage.bus")

MOST_ON_THE_WAY = 128
"""Messages, of up to a quarter of a MiB each."""

MOST_BYTES = 32 << 20
"""Of waiting messages; with more, the window counts as full."""


class Window:
    """Deliveries that are worked on, and such that wait for their turn. `on_room` is called when more can be taken.

    `hand_on` sends a delivery to another copy; it is for those that the `dealing` says another one owns.
    """

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        handle: Callable[[Delivery], Awaitable[None]],
        *,
        on_room: Callable[[], None],
        dealing: Dealing | None = None,
        hand_on: Callable[[Delivery, str], Awaitable[None]] | None = None,
        parking: Parking = unwatched,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._consumer = consumer
        self._handle = handle
        self._on_room = on_room
        self._dealing = dealing
        self._hand_on = hand_on
        self._parking = parking
        self._clock = clock
        self._place = len(consumer.subject.split(".")) - 1  # of the token that names the owner
        self._turns: Turns[Delivery] = Turns(consumer.concurrency, share=SHARE if consumer.ahead else None)
        self._bytes = 0
        self._working: dict[asyncio.Task[None], Delivery] = {}
        self._tempo = Tempo()
        self._times_back: Lru[str, int] = Lru(REMEMBERED)
        self._failures: Lru[str, int] = Lru(REMEMBERED)
        self._answering: set[asyncio.Task[None]] = set()
        self._renewal: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def room(self) -> int:
        """How many more messages may be on their way."""
        if self._closed or self._bytes > MOST_BYTES:
            return 0
        held = len(self._working) + len(self._turns)
        return min(at_once(self._consumer), self._consumer.concurrency + self._consumer.ahead - held)

    def take(self, delivery: Delivery) -> None:
        """Handle a delivery when it is its owner's turn, if it is for this copy to handle, and else hand it on."""
        if self._closed:
            self._give_back([delivery], 0.0)
            return
        if self._dealing is not None and self._hand_on is not None and not delivery.handed_on:
            copy = self._dealing.owner(delivery)
            if copy != self._dealing.copy:
                self._answer(self._send_on(self._hand_on, delivery, copy))
                return
        self.keep(delivery)

    def keep(self, delivery: Delivery) -> None:
        """Handle a delivery here, whoever owns it."""
        if self._closed:
            self._give_back([delivery], 0.0)
            return
        # That it came and was given back says nothing of its handler, whose patience goes by deliveries.
        delivery.attempt = max(1, delivery.attempt - (self._times_back.get(message_id(delivery)) or 0))
        self._turns.add(self._owner(delivery), delivery)
        self._bytes += len(delivery.payload)
        self._tempo.came(self._clock())
        self._go_on()
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())

    async def drain(self, timeout: float) -> bool:
        """Give back what waits, let handlers finish; False when some had to be cancelled at the timeout."""
        self.close()
        if self._working:
            await asyncio.wait(self._working, timeout=timeout)
        unfinished = list(self._working.values())
        await self._cancel(self._working)
        self._give_back(unfinished, 0.0)
        await asyncio.gather(*self._answering)
        return not unfinished

    def close(self) -> None:
        """Begin nothing more, and give back what waits, so that another copy gets it at once."""
        self._closed = True
        self._give_back(self._turns.clear(), 0.0)

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        self._closed = True
        self._turns.clear()
        await self._cancel([*self._working, *self._answering, *([self._renewal] if self._renewal else [])])

    def _owner(self, delivery: Delivery) -> str:
        return delivery.subject.split(".", self._place + 1)[self._place]

    def _go_on(self) -> None:
        """Begin what can be begun; when no more can be taken, make room."""
        while not self._closed and (delivery := self._turns.next()) is not None:
            self._bytes -= len(delivery.payload)
            handling = dispatch(self._bus, self._consumer, delivery, self._handle, self._failures, self._parking)
            task = asyncio.create_task(handling)
            self._working[task] = delivery
            task.add_done_callback(self._done)
        if self._consumer.ahead and self.room <= 0 and (surplus := self._turns.surplus(self._consumer.ahead // 4)):
            for delivery in surplus:
                self._bytes -= len(delivery.payload)
                name = message_id(delivery)
                self._times_back.put(name, (self._times_back.get(name) or 0) + 1)
            self._give_back(surplus, self._tempo.until_then(self._clock(), len(self._turns)))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._turns.done(self._owner(self._working.pop(task)))
        self._tempo.done(self._clock(), in_hand=len(self._working) + len(self._turns))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery was left unanswered", exc_info=error)
        self._go_on()
        self._on_room()

    def _give_back(self, deliveries: Sequence[Delivery], delay: float) -> None:
        """Have messages delivered again, here or to another copy, and say that there is room."""
        if deliveries:
            self._answer(self._nak(deliveries, delay))

    def _answer(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(answering)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _send_on(
        self, hand_on: Callable[[Delivery, str], Awaitable[None]], delivery: Delivery, copy: str
    ) -> None:
        try:
            await hand_on(delivery, copy)
        except (BusError, OSError):
            self.keep(delivery)
        else:
            self._on_room()

    async def _nak(self, deliveries: Sequence[Delivery], delay: float) -> None:
        for delivery in deliveries:
            with contextlib.suppress(BusError, OSError, TimeoutError):  # it comes again by itself
                await delivery.nak(delay)
        self._on_room()

    async def _renew(self) -> None:
        """Keep ours what is worked on, and what waits."""
        while True:
            await asyncio.sleep(self._consumer.ack_wait / 3)
            for delivery in (*self._working.values(), *self._turns.waiting()):
                with contextlib.suppress(BusError, OSError, TimeoutError):
                    await delivery.in_progress()

    @staticmethod
    async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
        tasks = list(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def at_once(consumer: Consumer) -> int:
    """How many messages may be on their way to one copy, since each may be large."""
    return min(MOST_ON_THE_WAY, consumer.concurrency + consumer.ahead)

"""Messages in hand, and such that copies of a worker hand on to each other, each to the one that owns it.

What is handed on is sent to the other copy as it came, with the subject by which JetStream is answered: whoever has it
then answers, and JetStream need not know. Nobody waits for a confirmation. Where no such copy is (any more), the server
says so at once, and the message stays here; should it get lost on its way, JetStream delivers it again in time.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.aio.lru import Lru
from shared.broker.bus import Delivery
from shared.broker.nats.answers import NO_RESPONDERS, position_of, status_of
from shared.broker.nats.client import NatsClient

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

COPIES = "moorage.copies"
"""Below it, by consumer and copy, are the subjects on which copies get what others hand on."""

_ANSWER_HEADER = "Moorage-Answer"
_ON_THE_WAY = 128  # that are remembered, each of a quarter of a MiB at most; the server answers within moments


class NatsDelivery:
    """One message in hand; see the port."""

    def __init__(self, client: NatsClient, message: "Msg", *, handed_on: bool = False) -> None:
        self._client = client
        self.subject = message.subject
        self.payload = message.data
        headers = dict(message.headers or {})
        self.answer_to = message.reply
        self.handed_on = handed_on
        if handed_on:
            self.answer_to = headers.pop(_ANSWER_HEADER)
            self.subject = message.subject.split(".", 4)[4]  # moorage.copies.<consumer>.<copy>.<subject>
        self.headers: Mapping[str, str] = headers
        position = position_of(self.answer_to)
        self.attempt, self.sequence = position.deliveries, position.stream
        self.stored_at, self.pending = position.stored_at, position.pending

    async def ack(self) -> None:
        await self._client.send(self.answer_to, b"+ACK")

    async def nak(self, delay: float) -> None:
        wait = f' {{"delay": {int(delay * 1e9)}}}' if delay > 0 else ""
        await self._client.send(self.answer_to, b"-NAK" + wait.encode())

    async def terminate(self, reason: str) -> None:
        await self._client.send(self.answer_to, b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        await self._client.send(self.answer_to, b"+WPI")


class Handing:
    """One copy's share in handing on the messages of a consumer."""

    def __init__(self, client: NatsClient, consumer: str, copy: str) -> None:
        self._client = client
        self._subject = f"{COPIES}.{consumer}"
        self._copy = copy
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._on_the_way: Lru[str, Delivery] = Lru(_ON_THE_WAY)
        self._subscriptions: list[Subscription] = []

    async def start(self, take: Callable[[Delivery], None], keep: Callable[[Delivery], None]) -> None:
        """Begin to listen to the others: what comes is given to `take`, and to `keep` what nobody was there for."""

        def on_message(message: "Msg") -> None:
            take(NatsDelivery(self._client, message, handed_on=True))

        def on_status(message: "Msg") -> None:
            delivery = self._on_the_way.pop(message.subject.rpartition(".")[2])
            if status_of(message) == NO_RESPONDERS and delivery is not None:
                keep(delivery)

        for subject, handle in ((f"{self._inbox}.*", on_status), (f"{self._subject}.{self._copy}.>", on_message)):
            self._subscriptions.append(await self._client.subscribe(subject, handle))

    async def stop(self) -> None:
        """Be there no more; what was on its way has gone to `take` when this returns."""
        with contextlib.suppress(Exception):  # a broken connection has nothing on its way
            await self._client.drain(self._subscriptions.pop())

    async def abandon(self) -> None:
        """Stop at once."""
        while self._subscriptions:
            with contextlib.suppress(Exception):  # closed already, or the connection is
                await self._subscriptions.pop().unsubscribe()

    async def hand_on(self, delivery: Delivery, copy: str) -> None:
        """Send a delivery to another copy. Raises `BusError`."""
        assert isinstance(delivery, NatsDelivery)
        token = str(next(self._numbers))
        self._on_the_way.put(token, delivery)
        headers = {**delivery.headers, _ANSWER_HEADER: delivery.answer_to}
        subject = f"{self._subject}.{copy}.{delivery.subject}"
        await self._client.send(subject, delivery.payload, reply=f"{self._inbox}.{token}", headers=headers)

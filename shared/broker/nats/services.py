"""Services on NATS: plain request and reply, shared by the copies of a worker through a queue group."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shared.broker.bus import Asked, BusError, Forbidden, Reply, Service
from shared.broker.nats.client import NatsClient
from shared.broker.services import Questions

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

HEADROOM = 4096
"""Bytes of the largest message that are left for headers."""


class NatsService:
    """A service at work. `ended` is called when it ends."""

    def __init__(
        self,
        client: NatsClient,
        service: Service,
        handle: Callable[[Asked], Awaitable[Reply]],
        ended: "Callable[[NatsService], None]",
    ) -> None:
        self._client = client
        self._service = service
        self._questions = Questions(service, handle)
        self._ended = ended
        self._denied = ""
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to serve. Raises `Forbidden` when permissions deny it."""
        self._client.listeners.add(self)
        try:
            self._subscription = await self._client.subscribe(
                self._service.subject, self._on_message, queue=self._service.group
            )
            with contextlib.suppress(BusError):  # not reachable now: it is subscribed to when it is
                await self._client.flush()
            self._check_allowed()
        except BaseException:
            await self.abandon()
            raise

    def _check_allowed(self) -> None:
        if self._denied:
            raise Forbidden(self._denied)

    async def drain(self, timeout: float) -> bool:
        """See the port. What the server had sent is answered; what comes after goes to other copies."""
        self._client.listeners.discard(self)
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # a broken connection has nothing on its way
                await self._client.drain(self._subscription)
        finished = await self._questions.drain(timeout)
        self._ended(self)
        with contextlib.suppress(BusError):
            await self._client.flush()
        return finished

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        self._client.listeners.discard(self)
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # closed already, or the connection is
                await self._subscription.unsubscribe()
        await self._questions.abandon()
        self._ended(self)

    # Listener

    def reconnected(self) -> None:
        """The library subscribes again by itself."""

    def denied(self, subject: str, reason: str) -> None:
        if subject == self._service.subject.lower():
            self._denied = reason

    def _on_message(self, message: "Msg") -> None:
        if message.reply:  # else nobody waits for an answer

            async def send(reply: Reply) -> None:
                check_size(self._client, message.reply, reply.payload)
                await self._client.send(message.reply, reply.payload, headers=reply.headers)

            self._questions.take(Asked(message.subject, message.data, message.headers or {}), send)


def check_size(client: NatsClient, subject: str, payload: bytes) -> None:
    """Raise ValueError for more than one message can hold."""
    if len(payload) > client.max_payload - HEADROOM:
        raise ValueError(f"message of {len(payload)} bytes on {subject}: the broker takes {client.max_payload}")

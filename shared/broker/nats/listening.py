"""Listening on NATS: plain subscriptions, of which nobody keeps what was told while the connection was away."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.broker.bus import Asked, BusError, Forbidden
from shared.broker.nats.client import NatsClient

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription


class NatsListening:
    """Somebody who listens; see the port."""

    def __init__(
        self, client: NatsClient, subject: str, take: Callable[[Asked], None], missed: Callable[[], None]
    ) -> None:
        self._client = client
        self._subject = subject
        self._take = take
        self._missed = missed
        self._denied = ""
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to listen. Raises `Forbidden` when permissions deny it."""
        self._client.listeners.add(self)
        try:
            self._subscription = await self._client.subscribe(self._subject, self._on_message)
            with contextlib.suppress(BusError):  # not reachable now: it is subscribed to when it is
                await self._client.flush()
            self._check_allowed()
        except BaseException:
            await self.stop()
            raise

    def _check_allowed(self) -> None:
        if self._denied:
            raise Forbidden(self._denied)

    async def stop(self) -> None:
        self._client.listeners.discard(self)
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # closed already, or the connection is
                await self._subscription.unsubscribe()
            self._subscription = None

    # Listener

    def reconnected(self) -> None:
        self._missed()

    def denied(self, subject: str, reason: str) -> None:
        if subject == self._subject.lower():
            self._denied = reason

    def _on_message(self, message: "Msg") -> None:
        self._take(Asked(message.subject, message.data, message.headers or {}))

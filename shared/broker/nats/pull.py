"""Fetching messages from one JetStream consumer without end.

A pull request asks the server for a number of messages and stays open for some seconds. New requests are sent before
the last one is used up. While nothing comes, the server sends heartbeats; when they fail to come, fetching starts over.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from shared.broker.bus import BusError, Forbidden
from shared.broker.nats.client import NatsClient

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger("moorage.nats")

HEARTBEAT = "100"  # status code: the request is still open, and there are no messages
EXPIRED = ("404", "408")  # status codes: the request was open for as long as it asked to be, and no message came
MISSED = 2.5  # heartbeats that may be missing before the request counts as lost
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds before pulling again after a refusal


class PullSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long a pull request stays open, and how often the server sends a heartbeat meanwhile; both in seconds."""

    expires: float = 30.0
    heartbeat: float = 5.0


class Pull:
    """Keeps pull requests open for as many messages as `room()` allows.

    Each message is given to `take`, which must not block. `on_lost` is called when messages may have been missed: after
    a reconnect, when heartbeats fail to come, or when the consumer is gone.
    """

    def __init__(
        self,
        client: NatsClient,
        stream: str,
        consumer: str,
        *,
        take: "Callable[[Msg], None]",
        room: Callable[[], int],
        at_once: int,
        on_lost: Callable[[str], None] | None = None,
        settings: PullSettings,
    ) -> None:
        self._client = client
        self._next = client.api_subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
        self._take = take
        self._room = room
        self._worthwhile = max(1, at_once // 2)
        self._settings = settings
        self._asked = 0
        self._pause = 0.0
        self._stale = False
        self._denied: str | None = None
        self._complaint = ""
        self._heard = 0.0
        self._wake = asyncio.Event()
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._loop: asyncio.Task[None] | None = None
        self._on_lost = on_lost

    async def start(self) -> None:
        """Begin to pull. Raises `Forbidden` when permissions deny it."""
        self._client.listeners.add(self)
        try:
            await self._subscribe()
            await self._request()
            with contextlib.suppress(BusError):  # not reachable now: the loop goes on trying
                await self._client.flush()
            self._check_allowed()
        except BaseException:
            await self.abandon()
            raise
        self._loop = asyncio.create_task(self._run())

    def _check_allowed(self) -> None:
        if self._denied:
            raise Forbidden(self._denied)

    async def stop(self) -> None:
        """Take the open requests back; messages that were on their way have gone to `take` when this returns."""
        self._end()
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # a broken connection has nothing on its way
                await self._client.drain(self._subscription)

    async def abandon(self) -> None:
        """Take the open requests back; messages that are on their way are left to come again."""
        self._end()
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # closed already, or the connection is
                await self._subscription.unsubscribe()

    def _end(self) -> None:
        self._client.listeners.discard(self)
        if self._loop is not None:
            self._loop.cancel()

    def kick(self) -> None:
        """There may be room again."""
        if self._worth_asking_for():
            self._wake.set()

    # Listener

    def reconnected(self) -> None:
        self._lost("the connection was interrupted")

    def denied(self, subject: str, reason: str) -> None:
        if subject == self._next.lower() or (self._inbox and subject.startswith(self._inbox.lower())):
            self._denied = reason
            self._pause = LONGEST_PAUSE
            self._stale = True
            self._wake.set()

    # The loop

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except BusError as error:
                self._complain(str(error))
                self._slow_down()

    async def _turn(self) -> None:
        if self._pause:
            await asyncio.sleep(self._pause)
        if self._stale:
            await self._restart()
        self._wake.clear()
        await self._request()
        now, patience = asyncio.get_running_loop().time(), self._settings.heartbeat * MISSED
        try:
            async with asyncio.timeout(self._heard + patience - now if self._asked else None):
                await self._wake.wait()
        except TimeoutError:
            now = asyncio.get_running_loop().time()
            if self._asked and now - self._heard >= patience:
                self._heard = now
                if self._client.connected:
                    self._lost("no sign of life from the consumer")

    def _worth_asking_for(self) -> int:
        """So many more messages, 0 while it would be few beside what is asked for."""
        batch = self._room() - self._asked
        return batch if batch > 0 and (not self._asked or batch >= self._worthwhile) else 0

    async def _request(self) -> None:
        batch = self._worth_asking_for()
        if not batch:
            return
        if not self._asked:
            self._heard = asyncio.get_running_loop().time()
        request = {
            "batch": batch,
            "expires": int(self._settings.expires * 1e9),
            "idle_heartbeat": int(self._settings.heartbeat * 1e9),
        }
        # The size of the batch is part of the reply subject: a refusal says by it how many were refused.
        await self._client.send(self._next, msgspec.json.encode(request), reply=f"{self._inbox}.{batch}")
        self._asked += batch

    async def _subscribe(self) -> None:
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", self._on_message)

    async def _restart(self) -> None:
        """Under a new inbox: requests that the server may still hold for the old one are void."""
        if self._subscription is not None:
            with contextlib.suppress(Exception):  # the library complains about one that is not there any more
                await self._subscription.unsubscribe()
        self._asked = 0
        await self._subscribe()
        self._stale = False

    def _on_message(self, message: "Msg") -> None:
        self._heard = asyncio.get_running_loop().time()
        if message.subject.startswith(self._inbox):  # from the server itself: stored messages keep their subject
            self._on_status(message)
        else:
            self._all_is_well()
            self._asked = max(0, self._asked - 1)
            self._take(message)
        self.kick()

    def _on_status(self, message: "Msg") -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status != HEARTBEAT:
            refused = int(headers.get("Nats-Pending-Messages", message.subject.rpartition(".")[2]))
            self._asked = max(0, self._asked - refused)
        if status in (HEARTBEAT, *EXPIRED):
            self._all_is_well()
        else:
            self._slow_down()
            self._lost(f"{status} {headers.get('Description', 'no such consumer')}")

    def _all_is_well(self) -> None:
        self._pause, self._complaint = 0.0, ""

    def _lost(self, reason: str) -> None:
        self._complain(reason)
        self._stale = True
        self._wake.set()
        if self._on_lost is not None:
            self._on_lost(reason)

    def _slow_down(self) -> None:
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))

    def _complain(self, reason: str) -> None:
        """Say each new reason once."""
        if reason != self._complaint:
            self._complaint = reason
            log.warning("pulling again", extra={"subject": self._next, "reason": reason})

"""Reading what a JetStream stream holds, and what is added, in order, by a consumer that nobody else uses."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from shared.broker.bus import BusError, Forbidden
from shared.broker.nats.answers import position_of
from shared.broker.nats.client import NatsClient
from shared.broker.nats.pull import Pull, PullSettings

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger("moorage.nats")

AT_ONCE = 500  # messages that a reader asks for ahead

LAST: Final[Mapping[str, Any]] = {"deliver_policy": "last_per_subject"}
"""Begin with the last message of each subject."""


def since(time: str) -> Mapping[str, Any]:
    """Begin with the first message that was stored at this time (RFC 3339) or later."""
    return {"deliver_policy": "by_start_time", "opt_start_time": time}


def after(sequence: int) -> Mapping[str, Any]:
    """Begin with the first message after this one."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}


async def follow(
    client: NatsClient, stream: str, subject: str, start: Mapping[str, Any], pull: PullSettings | None = None
) -> "AsyncGenerator[Msg | None, None]":
    """The messages of a stream from `start` on, each once and in order, for as long as somebody asks for more.

    None comes once, after those that were there at the beginning. Where the connection is interrupted, it goes on with
    the message after the last one. Raises `Forbidden` when permissions deny it.
    """
    synced = False
    while True:
        async with StreamReader(client, stream, subject, start, pull or PullSettings()) as reader:
            async for message in reader.present():
                start = after(position_of(message.reply).stream)
                yield message
            if not synced and not reader.lost:
                synced = True
                yield None
            async for message in reader.changes():
                start = after(position_of(message.reply).stream)
                yield message


class StreamReader:
    """Reads what is there from `start` on, then what is added, in order, until something is lost."""

    def __init__(
        self, client: NatsClient, stream: str, subject: str, start: Mapping[str, Any], pull: PullSettings
    ) -> None:
        self._client = client
        self._stream = stream
        self._subject = subject
        self._start = start
        self._settings = pull
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # bounded by what is asked for: AT_ONCE
        self._pending = 0
        self._sequence = 0
        self._pull: Pull
        self.lost = False

    async def __aenter__(self) -> "StreamReader":
        self._pending = await self._create()
        self._pull = Pull(
            self._client,
            self._stream,
            self._name,
            take=self._queue.put_nowait,
            room=lambda: AT_ONCE - self._queue.qsize(),
            at_once=AT_ONCE,
            on_lost=self._on_lost,
            settings=self._settings,
        )
        await self._pull.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pull.abandon()

    async def present(self) -> "AsyncIterator[Msg]":
        """The messages that were there when the reader was made."""
        while self._pending and (message := await self._take()) is not None:
            self._pending = position_of(message.reply).pending
            yield message

    async def changes(self) -> "AsyncIterator[Msg]":
        """The messages that are added, for as long as nothing is lost."""
        while (message := await self._take()) is not None:
            yield message

    async def _take(self) -> "Msg | None":
        message = None if self.lost else await self._queue.get()
        self._pull.kick()
        if message is None:
            return None
        self._sequence += 1
        if position_of(message.reply).consumer != self._sequence:
            self._on_lost("a gap in the sequence")
            return None
        return message

    def _on_lost(self, reason: str) -> None:
        log.info("reading the stream again", extra={"stream": self._stream, "reason": reason})
        self.lost = True
        self._queue.put_nowait(None)

    async def _create(self) -> int:
        """Make the consumer, however long it takes for the stream to be there; returns how many messages wait.

        By another name each time: one may have been given to a server that went away just then, and waits for it.
        """
        config = {
            **self._start,
            "ack_policy": "none",
            "filter_subject": self._subject,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(60e9),
        }
        pause = 0.05
        while True:
            self._name = f"watch-{uuid.uuid4().hex[:16]}"
            request = {"stream_name": self._stream, "config": {"name": self._name, **config}}
            try:
                answer = await self._client.api(f"CONSUMER.CREATE.{self._stream}.{self._name}.{self._subject}", request)
                return int(answer["num_pending"])
            except BusError as error:
                if isinstance(error, Forbidden) or self._client.closed:
                    raise
                log.warning("cannot read a stream yet", extra={"stream": self._stream, "reason": str(error)})
                await asyncio.sleep(pause)
                pause = min(2.0, pause * 2)

"""Whether a reader got all that there is, by the word of the leader of the stream.

A consumer reads from whichever server has a copy, and in a cluster that copy may be behind: one on an empty disk says
at first that nothing is there, and of what it gets after that a consumer does not tell everything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from shared.broker.bus import BusError, Forbidden
from shared.broker.nats.client import NatsClient
from shared.broker.nats.streams import stored, stream_info

log = logging.getLogger("moorage.nats")

T = TypeVar("T")
TOLD_EVERY = 50
"""Readings in vain after which that is a warning: a copy that is behind catches up within seconds."""
LOOK_AGAIN = 0.2  # seconds until a leader that did not answer is asked again, and a copy that was behind is read again


class Extent(NamedTuple):
    """How many there are, and the sequence of the newest."""

    messages: int = 0
    newest: int = 0

    def with_one(self, sequence: int) -> "Extent":
        """With one message more."""
        return Extent(self.messages + 1, max(self.newest, sequence))


async def extent(client: NatsClient, stream: str) -> Extent:
    """What the leader of a stream has; nothing where there is no stream. Its newest message may be gone by its age.

    It is waited for, however long it takes. Raises `Forbidden` when permissions deny to look.
    """
    info = await _answer(client, stream, lambda: stream_info(client, stream))
    return Extent() if info is None else Extent(info["state"]["messages"], info["state"]["last_seq"])


async def is_behind(
    client: NatsClient, stream: str, subject: str, read: Extent, before: Extent, in_vain: int = 0
) -> bool:
    """Whether a reader of what a subject covers got less than there was `before` and still is; if so, after a pause.

    Where the subject covers a part of the stream, `before.messages` is to be 0. `in_vain`: how often it was read before
    without success.
    """
    if read.messages >= before.messages and read.newest >= before.newest:
        return False
    now = await extent(client, stream)
    last = await _answer(client, stream, lambda: stored(client, stream, {"last_by_subj": subject}))
    newest = 0 if last is None else last.sequence
    if read.messages >= min(before.messages, now.messages) and read.newest >= min(before.newest, newest):
        return False
    level = logging.INFO if (in_vain + 1) % TOLD_EVERY else logging.WARNING
    extra = {"stream": stream, "reason": "the copy that was read is behind", "in_vain": in_vain + 1}
    log.log(level, "reading the stream again", extra=extra)
    await asyncio.sleep(LOOK_AGAIN)
    return True


async def _answer(client: NatsClient, stream: str, ask: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await ask()
        except BusError as error:
            if isinstance(error, Forbidden) or client.closed:
                raise
            log.warning("cannot read a stream yet", extra={"stream": stream, "reason": str(error)})
            await asyncio.sleep(LOOK_AGAIN)

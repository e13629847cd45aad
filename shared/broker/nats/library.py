"""The client library, made to survive what others may publish. Importing it is slow: `client` does so lazily."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Import as if a module were not installed that is optional to what is imported."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # as the import system has it: None is never found
    try:
        yield
    finally:
        del sys.modules[module]


with _without("aiohttp"):  # for WebSockets, which we refuse; it takes a third of a second and 15 MB
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.errors import Error, UnexpectedEOF

__all__ = ["Error", "TolerantClient"]

log = logging.getLogger("moorage.nats")

UNSENT = 256 * 1024
"""Bytes that the connection has not taken yet, above which what is to be sent waits until it takes more."""


class TolerantClient(Client):
    """Takes messages on subjects that are no UTF-8, which a server accepts; and gives them on without a detour.

    The library's own way with such subjects is to stop reading from the connection, so that one message of a stranger
    would stop a worker for good. Here each wrong byte becomes U+FFFD, and the message goes the way of all garbage.

    It also puts each message in a queue of its subscription, from which a task takes it. What is only put somewhere
    else, as all of ours are, needs neither. And what is sent wakes another task, which writes it: here all that is sent
    in one turn of the event loop is written at the end of that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Callable[[Msg], None]] = {}
        self._writing = False

    async def take(self, subject: str, queue: str, take: Callable[[Msg], None]) -> Subscription:
        """A subscription whose messages are given to `take` as they are read, in order. It must not block."""
        subscription = await self.subscribe(subject, queue)
        self._takers[subscription._id] = take  # noqa: SLF001 - in time: nothing is read before who asked for it waits
        return subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data) + len(headers or b"")
        found = await self._process_headers(headers) if headers else None
        try:
            take(self._build_message(sid, subject, reply, data, found))
        except Exception:  # one message is not to end the reading of all
            log.exception("a message was not taken", extra={"subject": subject.decode(errors="replace")})

    async def _process_pong(self) -> None:
        """Also where nobody waits for it any more, since it came late: the library fails then, and stops reading."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _read_loop(self) -> None:
        """Where reading ends by a failure, the library leaves the connection as it is, and deaf until pings are missed
        for half a minute: here it is made anew at once."""
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and not (task is not None and task.cancelling()):
            await self._process_op_err(UnexpectedEOF())

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        """Have what is to be sent written; by the library's task where somebody waits for it, or the server is slow."""
        if force_flush or not self.is_connected or self._unsent() > UNSENT:
            return await super()._flush_pending(force_flush)
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write_pending)
        return None

    def _unsent(self) -> int:
        writer = getattr(self._transport, "_io_writer", None)
        return writer.transport.get_write_buffer_size() if writer is not None else 0

    def _write_pending(self) -> None:
        self._writing = False
        if self._pending and self.is_connected and self._transport:  # else it is written after a reconnect
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.writelines(pending)

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )

"""Connections that wait for their next request, at most so many at once, and soon no more than one."""

import asyncio
import ssl
from typing import Final, TypeAlias

from shared.kube.errors import Closed
from shared.kube.http.connection import Connection
from shared.kube.http.dial import Dialer
from shared.kube.http.origin import Origin

KEPT: Final = 60.0  # seconds for which a connection waits that is the only one to its server
SPARE: Final = 10.0  # seconds for which the others wait: each takes 40 KB here, and more at the server

_Key: TypeAlias = tuple[Origin, ssl.SSLContext | None]


class Pool:
    """The connections of one client: at most `limit` are taken at once; whoever wants one more waits for its turn."""

    def __init__(self, dialer: Dialer, limit: int) -> None:
        self._dialer = dialer
        self._turns = asyncio.Semaphore(limit)
        self._idle: dict[_Key, list[Connection]] = {}
        self._taken: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        """A connection to be given back by `give`, in whatever state. Raises Closed, and as `Dialer.dial` does."""
        await self._turns.acquire()
        try:
            connection = self._waiting((to, tls))
            if connection is None:
                return await self.open(to, tls)
        except BaseException:
            self._turns.release()
            raise
        self._taken.add(connection)
        return connection

    def give(self, connection: Connection, to: Origin, tls: ssl.SSLContext | None) -> None:
        """Take a connection back, and keep it for the next if it can be used again."""
        self._turns.release()
        self._taken.discard(connection)
        if self._closed or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault((to, tls), []).append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(SPARE, self._sweep)

    async def open(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        """A new connection, to be dropped by `drop`, that does not count towards the limit."""
        self._check()
        connection = await self._dialer.dial(to, tls)
        try:
            self._check()
        except Closed:
            connection.abort()
            raise
        self._taken.add(connection)
        return connection

    def drop(self, connection: Connection) -> None:
        """End a connection, whatever its server may still have to say."""
        self._taken.discard(connection)
        connection.abort()

    async def close(self) -> None:
        """End all connections; requests under way fail."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in (*self._taken, *(each for waiting in self._idle.values() for each in waiting)):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # so that the event loop ends before its transports do not

    def _check(self) -> None:
        if self._closed:
            raise Closed("the client is closed")

    def _waiting(self, key: _Key) -> Connection | None:
        """The one that was used last: the others may grow old."""
        waiting = self._idle.get(key)
        while waiting:
            connection = waiting.pop()
            if connection.reusable:
                return connection
            connection.abort()
        return None

    def _sweep(self) -> None:
        """Close what has waited for too long: in each list, the longer the further to the front."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, waiting in list(self._idle.items()):
            while waiting and now - waiting[0].idle_since >= (SPARE if len(waiting) > 1 else KEPT):
                waiting.pop(0).abort()
            if not waiting:
                del self._idle[key]
        self._sweeping = loop.call_later(SPARE, self._sweep) if self._idle else None

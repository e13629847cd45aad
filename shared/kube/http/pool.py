"""Connections that wait for their next request, at most so many at once, and soon no more than one.

To open one costs as much processor time as ten requests, here and at the server. So they are opened one after the
other, where none comes back soon, and whoever waits takes what comes back meanwhile: a server that answers quickly is
asked over one or two.
"""

import asyncio
import ssl
from collections import Counter, deque
from typing import Final, TypeAlias

from shared.kube.errors import Closed
from shared.kube.http.connection import Connection
from shared.kube.http.dial import Dialer
from shared.kube.http.origin import Origin

KEPT: Final = 60.0  # seconds for which a connection waits that is the only one to its server
SPARE: Final = 10.0  # seconds for which the others wait: each takes 40 KB here, and more at the server
PATIENCE: Final = 0.01  # seconds in which one may come back before another is opened, which takes about as long

_Key: TypeAlias = tuple[Origin, ssl.SSLContext | None]


class Pool:
    """The connections of one client: at most `limit` are taken at once; whoever wants one more waits for its turn."""

    def __init__(self, dialer: Dialer, limit: int) -> None:
        self._dialer = dialer
        self._turns = asyncio.Semaphore(limit)
        self._idle: dict[_Key, list[Connection]] = {}
        self._opening: set[_Key] = set()
        self._asking: dict[_Key, deque[asyncio.Future[Exception | None]]] = {}  # those who wait while one is opened
        self._taken: set[Connection] = set()
        self._lent: Counter[_Key] = Counter()  # of those, how many come back
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False
        self._retired = False

    async def take(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        """A connection to be given back by `give`, in whatever state. Raises Closed, and as `Dialer.dial` does."""
        await self._turns.acquire()
        try:
            connection = await self._next((to, tls))
        except BaseException:
            self._turns.release()
            raise
        self._lent[to, tls] += 1
        return connection

    def give(self, connection: Connection, to: Origin, tls: ssl.SSLContext | None) -> None:
        """Take a connection back, and keep it for the next if it can be used again."""
        self._turns.release()
        self._taken.discard(connection)
        self._lent[to, tls] -= 1
        if not self._lent[to, tls]:
            del self._lent[to, tls]
        if self._closed or self._retired or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault((to, tls), []).append(connection)
        self._wake((to, tls))
        if self._sweeping is None:
            self._sweeping = loop.call_later(SPARE, self._sweep)

    async def open(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        """A connection to be dropped by `drop`, that does not count towards the limit: one that waits, or a new one.

        Whoever follows a collection has just read it, so that its connection waits, and often for nothing else.
        """
        if (waiting := self._waiting((to, tls))) is not None:
            self._taken.add(waiting)
            return waiting
        return await self._dialed(to, tls)

    async def _dialed(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
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

    def retire(self) -> None:
        """Keep no connection that nobody uses, from now on. What is asked yet is answered."""
        self._retired = True
        for connection in [each for waiting in self._idle.values() for each in waiting]:
            connection.abort()
        self._idle.clear()

    async def close(self) -> None:
        """End all connections; requests under way fail."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in (*self._taken, *(each for waiting in self._idle.values() for each in waiting)):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # so that the event loop ends before its transports do not

    async def _next(self, key: _Key) -> Connection:
        """One that waits or comes back, or a new one. What is wrong with a new one is so for all who wait for it.

        Whoever was called and finds that somebody who came later was faster waits on in front, and not for longer.
        """
        loop, place = asyncio.get_running_loop(), deque[asyncio.Future[Exception | None]].append
        patient_until = loop.time() + PATIENCE
        while (connection := self._waiting(key)) is None:
            opening = key in self._opening
            if not opening and not (self._lent[key] and loop.time() < patient_until):
                return await self._opened(key)
            woken: asyncio.Future[Exception | None] = loop.create_future()
            place(self._asking.setdefault(key, deque()), woken)
            place = deque.appendleft
            try:
                async with asyncio.timeout_at(None if opening else patient_until):
                    error = await woken
            except TimeoutError:
                error = None
            except asyncio.CancelledError:
                self._wake(key)  # it may have been called just now
                raise
            if error is not None:
                raise error
        self._taken.add(connection)
        if key not in self._opening:
            self._wake(key)
        return connection

    async def _opened(self, key: _Key) -> Connection:
        self._opening.add(key)
        try:
            connection = await self._dialed(*key)
        except Exception as error:
            self._opening.discard(key)
            while self._wake(key, error):
                pass
            raise
        except BaseException:
            self._opening.discard(key)
            self._wake(key)
            raise
        self._opening.discard(key)
        self._wake(key)
        return connection

    def _wake(self, key: _Key, error: Exception | None = None) -> bool:
        """Call the first who waits, for a connection came back, or the next is to be opened; False if nobody does."""
        waiting = self._asking.get(key)
        while waiting:
            woken = waiting.popleft()
            if not woken.done():
                woken.set_result(error)
                return True
        self._asking.pop(key, None)
        return False

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

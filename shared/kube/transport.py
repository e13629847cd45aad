"""Requests to API servers: connections, identity, and every failure as one of `errors`."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

from shared.kube import errors
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.auth.plugin import Issued
from shared.kube.auth.tls import tls_context
from shared.kube.errors import TooLarge, Unreachable
from shared.kube.http.connection import Connection
from shared.kube.http.dial import Connect, Dialer, Proxy
from shared.kube.http.origin import Origin, split
from shared.kube.http.pool import Pool

CONNECTIONS: Final = 64
Headers: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Names and values; of a name with several values there are as many lines."""
_NOTHING: Final = Issued()
_AGAIN: Final = frozenset({"GET", "PUT", "DELETE"})  # the second of two does no more than the first
_LONGEST_ERROR: Final = 1 << 20  # bytes of the body of an answer that is not success
_MAX_LINE = 32 << 20  # bytes of one watch event; etcd holds 1.5 MiB by default


class Meter(Protocol):
    """Is told of requests, and of watches."""

    def asked(self, method: str, status: int, seconds: float) -> None:
        """A request ended with this status, 0 without an answer, after so long."""
        ...

    def watching(self, change: int) -> None:
        """One more watch is open (1), or one less (-1)."""
        ...


class Transport:
    """The connections to the servers of one trust domain, under one identity."""

    def __init__(
        self,
        credentials: Credentials,
        user_agent: str,
        permit: Callable[[str], bool] | None = None,
        proof: Callable[[], Awaitable[None]] | None = None,
        connections: int = CONNECTIONS,
        meter: Meter | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`permit` is asked of each IP address before a connection to it is made; without it, all are permitted. What
        `connect` makes is taken in place of all that.

        `proof` comes before everything else that is asked, until it raises nothing. At most `connections` requests go
        out at once, over all servers; streams have connections of their own, without a bound.
        """
        self._meter = meter
        self._credentials = credentials
        self._user_agent = user_agent
        self._proof = proof
        self._proving: asyncio.Future[None] | None = None
        self._token_file = _File(credentials.token_file) if credentials.token_file else None
        self._ca_file = _File(credentials.ca_file) if credentials.ca_file else None
        self._proxy = Proxy(credentials.proxy) if credentials.proxy else None
        dialer = Dialer(server_name=credentials.tls_server_name, proxy=self._proxy, permit=permit, connect=connect)
        self._pool = Pool(dialer, connections)
        self._tls: ssl.SSLContext | None = None
        self._tls_of: tuple[Issued, bytes | None] | None = None

    async def close(self) -> None:
        await self._pool.close()

    def retire(self) -> None:
        """Keep no connection beyond what it is used for now."""
        self._pool.retire()

    async def request(
        self, method: str, url: str, headers: Headers, body: bytes | None, timeout: float, most: int
    ) -> bytes:
        """The body of a successful response, of `most` bytes. `timeout` in seconds covers it all."""
        began, status = time.perf_counter(), 0
        try:
            answer = await self._request(method, url, headers, body, timeout, most)
            status = 200
        except errors.ApiError as error:
            status = error.status
            raise
        finally:
            if self._meter is not None:
                self._meter.asked(method, status, time.perf_counter() - began)
        return answer

    async def _request(
        self, method: str, url: str, headers: Headers, body: bytes | None, timeout: float, most: int
    ) -> bytes:
        to, target = _split(url)
        issued = await self._issue()
        wanted = {**headers, "Accept-Encoding": "gzip"}
        try:
            async with asyncio.timeout(timeout):
                for again in (True, False):
                    tls = self._tls_context(to, issued)
                    message = self._message(method, to, target, wanted, issued, body)
                    status, retry_after, answer = await self._exchange(to, tls, message, most, repeat=method in _AGAIN)
                    if status < 300:
                        return answer
                    issued = await self._renewed(issued, again, status, answer, retry_after)
                raise AssertionError("the second refusal is an error")
        except TimeoutError as error:
            raise Unreachable(f"{to} did not answer within {timeout:g} s") from error

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Headers, timeout: float, idle: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, until the server ends it.

        `timeout` is for the answer to begin, `idle` the longest silence after that (seconds). A stream that falls
        silent, breaks, or ends within a line raises Unreachable.
        """
        to, target = _split(url)
        issued = await self._issue()
        try:
            async with asyncio.timeout(timeout):
                connection = await self._streaming(to, target, headers, issued)
        except TimeoutError as error:
            raise Unreachable(f"{to} did not answer within {timeout:g} s") from error
        if self._meter is not None:
            self._meter.watching(1)
        try:
            yield _Lines(connection, to, idle)
        finally:
            if self._meter is not None:
                self._meter.watching(-1)
            self._pool.drop(connection)  # an abandoned stream is not drained for the sake of its connection

    async def _exchange(
        self, to: Origin, tls: ssl.SSLContext | None, message: bytes, most: int, *, repeat: bool
    ) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body of an answer.

        Where a connection that was kept turns out to have been given up by the server, it is asked on another one if
        it does no harm to `repeat` the request.
        """
        while True:
            connection = await self._pool.take(to, tls)
            try:
                answer = await connection.ask(message, most)
            except Unreachable:
                if not (repeat and connection.asked > 1 and connection.unanswered):
                    raise
            else:
                return connection.status, connection.retry_after, answer
            finally:
                self._pool.give(connection, to, tls)

    async def _streaming(self, to: Origin, target: str, headers: Headers, issued: Issued) -> Connection:
        """A connection of its own, on which a successful answer has begun."""
        for again in (True, False):
            connection = await self._begun(to, self._tls_context(to, issued), target, headers, issued)
            try:
                if connection.status < 300:
                    return connection
                answer = await connection.rest(_LONGEST_ERROR)
                issued = await self._renewed(issued, again, connection.status, answer, connection.retry_after)
            except BaseException:
                self._pool.drop(connection)
                raise
            self._pool.drop(connection)
        raise AssertionError("the second refusal is an error")

    async def _begun(
        self, to: Origin, tls: ssl.SSLContext | None, target: str, headers: Headers, issued: Issued
    ) -> Connection:
        """A connection of its own, on which an answer has begun; on another one, where one that was kept turns out to
        have been given up by the server.
        """
        while True:
            connection = await self._pool.open(to, tls)
            try:
                await connection.begin(self._message("GET", to, target, headers, issued, None))
            except BaseException as error:
                self._pool.drop(connection)
                if not isinstance(error, Unreachable) or connection.asked == 1 or not connection.unanswered:
                    raise
            else:
                return connection

    async def _issue(self) -> Issued:
        """What a plugin issued, if there is one. It takes its own time, which may be longer than a request's."""
        if self._proof is not None:
            if self._proving is None or self._proving.done():
                self._proving = asyncio.ensure_future(self._prove(self._proof))
                self._proving.add_done_callback(_look_at)
            # Who asks meanwhile hears the same: a server that does not answer is waited for once by all, not by each.
            await asyncio.shield(self._proving)
        return await self._credentials.plugin.credentials() if self._credentials.plugin else _NOTHING

    async def _prove(self, proof: Callable[[], Awaitable[None]]) -> None:
        await proof()
        self._proof = None

    async def _renewed(
        self, issued: Issued, again: bool, status: int, answer: bytes, retry_after: str | None
    ) -> Issued:
        """What a plugin issues in place of a token that was refused; raises ApiError for every other refusal."""
        plugin = self._credentials.plugin
        if not (status == 401 and plugin and again):
            raise errors.from_response(status, answer, retry_after)
        plugin.renew(issued)
        return await plugin.credentials()

    def _message(
        self, method: str, to: Origin, target: str, headers: Headers, issued: Issued, body: bytes | None
    ) -> bytes:
        who, forwarded = self._credentials, self._proxy if to.scheme == "http" else None
        lines = [
            f"{method} {f'http://{to.authority}' if forwarded else ''}{target} HTTP/1.1",
            f"Host: {to.authority}",
            f"User-Agent: {self._user_agent}",
            *(f"{name}: {each}" for name, value in headers.items() for each in _values(value)),
        ]
        if token := issued.token or who.token or (self._token_file.read().decode().strip() if self._token_file else ""):
            lines.append(f"Authorization: Bearer {token}")
        if forwarded and forwarded.authorization:
            lines.append(f"Proxy-Authorization: {forwarded.authorization}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        elif method != "GET":
            lines.append("Content-Length: 0")
        head = "\r\n".join(lines)
        if head.count("\n") >= len(lines) or head.count("\r") >= len(lines) or "\0" in head:
            raise Unreachable(f"{to}: cannot be asked: a header would end within its value")
        return f"{head}\r\n\r\n".encode() + (body or b"")

    def _tls_context(self, to: Origin, issued: Issued) -> ssl.SSLContext | None:
        """The context with our certificate; None where nothing is encrypted."""
        if to.scheme != "https" and not (self._proxy and self._proxy.origin.scheme == "https"):
            return None  # reading the system's authorities takes time, for nothing
        ca = self._ca_file.read() if self._ca_file else self._credentials.ca
        if self._tls is None or self._tls_of != (issued, ca):
            who = self._credentials
            certificate, key = issued.certificate or who.certificate, issued.key or who.key
            try:
                self._tls = tls_context(ca, certificate, key, who.insecure)
            except errors.ConfigError:  # a file that is just being written: what was there before holds until then
                if self._tls is None:
                    raise
            self._tls_of = issued, ca
        return self._tls


class _File:
    """A file that is replaced while we run: kubelet renews a service account's token about hourly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._content = b""

    def read(self) -> bytes:
        """What is in it; what was, for as long as there is nothing to be read."""
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                content = self._path.read_bytes()
                if content.strip() or not self._content:
                    self._content, self._stamp = content, stamp
        except OSError as error:
            if not self._content:
                raise errors.ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        return self._content


def _look_at(proved: asyncio.Future[None]) -> None:
    """A failure of which nobody waits to hear any more is no news."""
    if not proved.cancelled():
        proved.exception()


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _split(url: str) -> tuple[Origin, str]:
    try:
        return split(url)
    except ValueError:
        raise Unreachable("what is no URL cannot be asked") from None


class _Lines:
    """Lines out of chunks, without the empty ones."""

    def __init__(self, connection: Connection, to: Origin, idle: float) -> None:
        self._connection = connection
        self._to = to
        self._idle = idle
        self._ready: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._size = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await self._connection.chunk()
            except TimeoutError as error:
                raise Unreachable(f"{self._to} did not answer within {self._idle:g} s") from error
            if chunk:
                self._feed(chunk)
            elif self._size:
                raise Unreachable(f"{self._to} ended the stream within an event")
            else:
                raise StopAsyncIteration
        return self._ready.popleft()

    def _feed(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._partial.append(first)
        self._size += len(first)
        if self._size > _MAX_LINE:
            raise TooLarge(f"{self._to} sent an event of over {_MAX_LINE >> 20} MiB")
        if rest:
            whole = (b"".join(self._partial), *rest[:-1])
            self._ready.extend(line for line in whole if line)
            self._partial, self._size = [rest[-1]], len(rest[-1])

"""HTTP to API servers: connections, identity, and the translation of every failure into `errors`."""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

import aiohttp
import yarl

from shared.kube import errors
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.auth.plugin import Issued
from shared.kube.auth.tls import tls_context
from shared.kube.errors import ApiError, Closed, TooLarge, Unreachable

_POOL = 64  # connections for requests, over all hosts; watches have a pool of their own, without a bound
_NOTHING = Issued()
_MAX_LINE = 32 << 20  # bytes of one watch event; etcd holds 1.5 MiB by default


class Transport:
    """The connections to the servers of one trust domain, under one identity."""

    def __init__(
        self,
        credentials: Credentials,
        user_agent: str,
        permit: Callable[[str], bool] | None = None,
        proof: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`permit` is asked of each IP address before a connection to it is made; without it, all are permitted.

        `proof` comes before everything else that is asked, until it raises nothing.
        """
        self._credentials = credentials
        self._proof = proof
        self._proving = asyncio.Lock()
        self._permit = permit
        self._token_file = _TokenFile(credentials.token_file) if credentials.token_file else None
        self._user_agent = user_agent
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._closed = False
        self._tls: ssl.SSLContext | bool | None = None
        self._tls_of = _NOTHING

    async def close(self) -> None:
        self._closed = True
        for session in (self._requests, self._watches):
            if session is not None:
                await session.close()
        self._requests = self._watches = None

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
        most: int,
    ) -> bytes:
        """The body of a successful response, of `most` bytes. `timeout` in seconds covers it all."""
        await self._prove()
        if self._requests is None:
            self._requests = self._session(_POOL)
        issued = await self._issue()
        with _translated(url, timeout):
            async with (
                asyncio.timeout(timeout),
                self._response(self._requests, method, url, headers, body, issued) as response,
            ):
                return await _read(response, most)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], timeout: float, idle: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, until the server ends it.

        `timeout` is for the answer to begin, `idle` the longest silence after that (seconds). A stream that falls
        silent, breaks, or ends within a line raises Unreachable.
        """
        await self._prove()
        if self._watches is None:
            self._watches = self._session(0)
        issued = await self._issue()
        async with AsyncExitStack() as stack:
            with _translated(url, timeout):
                async with asyncio.timeout(timeout):
                    answer = self._response(self._watches, "GET", url, headers, None, issued)
                    response = await stack.enter_async_context(answer)
            stack.callback(response.close)  # an abandoned stream is not drained for the sake of its connection
            yield _Lines(response, url, idle)

    @asynccontextmanager
    async def _response(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        issued: Issued,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful response; raises ApiError for any other. A plugin's token that is refused is renewed once."""
        for renewed in (False, True):
            tls, authorization = self._identity(issued)
            async with session.request(
                method,
                yarl.URL(url, encoded=True),
                headers={**headers, **authorization},
                data=body,
                ssl=tls,
                server_hostname=self._credentials.tls_server_name or None,
                proxy=self._credentials.proxy or None,
                allow_redirects=False,  # a redirect would take our token to a host that nobody configured
            ) as response:
                if response.status == 401 and self._credentials.plugin and not renewed:
                    self._credentials.plugin.renew(issued)
                    issued = await self._issue()
                    continue
                if response.status >= 300:
                    error = await _read(response, 1 << 20)
                    raise errors.from_response(response.status, error, response.headers.get("Retry-After"))
                yield response
                return

    async def _prove(self) -> None:
        if self._proof is not None:
            async with self._proving:
                if self._proof is not None:
                    await self._proof()
                    self._proof = None

    async def _issue(self) -> Issued:
        """Credentials of the plugin, if there is one. It takes its own time, which may be longer than a request's."""
        return await self._credentials.plugin.credentials() if self._credentials.plugin else _NOTHING

    def _identity(self, issued: Issued) -> tuple[ssl.SSLContext | bool, dict[str, str]]:
        """The TLS context with our certificate, and the headers with our token."""
        who = self._credentials
        if self._tls is None or issued is not self._tls_of:
            self._tls, self._tls_of = self._tls_context(issued), issued
        token = issued.token or who.token or (self._token_file.read() if self._token_file else "")
        return self._tls, {"Authorization": f"Bearer {token}"} if token else {}

    def _tls_context(self, issued: Issued) -> ssl.SSLContext | bool:
        who = self._credentials
        if not who.server.lower().startswith("https:"):
            return True  # reading the system's authorities takes time, for nothing
        return tls_context(who.ca, issued.certificate or who.certificate, issued.key or who.key, who.insecure)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """The socket of a connection that is about to be made, if it may be: names are resolved by now."""
        family, kind, protocol, _, (address, *_) = info
        if self._permit is not None and not self._permit(str(address)):
            raise _NotPermitted
        return socket.socket(family, kind, protocol)

    def _session(self, limit: int) -> aiohttp.ClientSession:
        if self._closed:
            raise Closed("the client is closed")
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit, keepalive_timeout=60, socket_factory=self._socket if self._permit else None
            ),
            headers={"User-Agent": self._user_agent},
            timeout=aiohttp.ClientTimeout(total=None),  # set around each use instead
            trust_env=False,  # HTTP_PROXY would also catch loopback and cluster addresses
            cookie_jar=aiohttp.DummyCookieJar(),
        )


class _TokenFile:
    """A projected service account token, which kubelet replaces about hourly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._token = ""

    def read(self) -> str:
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._token, self._stamp = self._path.read_text().strip(), stamp
        except OSError as error:
            raise errors.ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        return self._token


class _NotPermitted(PermissionError):
    """An OSError, so that other addresses of the same name are tried."""


@contextmanager
def _translated(url: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except (ApiError, errors.ConfigError, Unreachable):
        raise
    except TimeoutError as error:  # before OSError, its base
        raise Unreachable(f"{_place(url)} did not answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if isinstance(getattr(error, "os_error", None), _NotPermitted):
            raise errors.NotAllowed(f"{_place(url)} is at an address that targets may not have") from None
        raise Unreachable(f"{_place(url)}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """A failure in words of our own: aiohttp's quote what the server sent, and the addresses that a name stands for."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name does not resolve"
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
            return f"the certificate is not trusted: {refused.verify_message}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            cause = getattr(error, "os_error", error)
            return f"no TLS: {getattr(cause, 'reason', None) or 'the handshake failed'}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status}"
        case aiohttp.ServerDisconnectedError():
            return "closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "broke off its answer"
        case aiohttp.ClientResponseError():
            return "does not answer in HTTP"
        case OSError(errno=int() as number) if number:
            return os.strerror(number)
        case OSError():
            return "cannot be connected to"
        case _:
            return f"cannot be asked ({type(error).__name__})"


def _place(url: str) -> str:
    try:
        place = yarl.URL(url, encoded=True)
        host, port = place.host, place.port
    except ValueError:  # a port out of range, for one
        return "what is no URL"
    return f"{host}:{port}"


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            raise TooLarge(f"{response.host} sent a body of over {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


class _Lines:
    """Lines out of chunks, without the empty ones. aiohttp's own readline refuses lines over 128 KiB."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, idle: float) -> None:
        self._response = response
        self._url = url
        self._idle = idle
        self._ready: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._size = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            with _translated(self._url, self._idle):
                async with asyncio.timeout(self._idle):
                    chunk = await self._response.content.readany()
            if chunk:
                self._feed(chunk)
            elif self._size:
                raise Unreachable(f"{self._response.host} ended the stream within an event")
            else:
                raise StopAsyncIteration
        return self._ready.popleft()

    def _feed(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._partial.append(first)
        self._size += len(first)
        if self._size > _MAX_LINE:
            raise TooLarge(f"{self._response.host} sent an event of over {_MAX_LINE >> 20} MiB")
        if rest:
            whole = (b"".join(self._partial), *rest[:-1])
            self._ready.extend(line for line in whole if line)
            self._partial, self._size = [rest[-1]], len(rest[-1])

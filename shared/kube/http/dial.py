"""How a connection is made: names resolved, addresses permitted, the quickest taken, a proxy passed, TLS agreed on."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from shared.kube.errors import NotAllowed, Unreachable
from shared.kube.http.connection import Connection
from shared.kube.http.failures import why
from shared.kube.http.origin import Origin, origin

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
Connect: TypeAlias = Callable[[], Awaitable[socket.socket]]
"""Makes a connected socket that does not block. Raises KubeError or OSError."""

_NEXT_ADDRESS: Final = 0.25  # seconds after which the next address is tried too (RFC 8305)
_LONGEST_HEAD: Final = 16 << 10  # bytes of a proxy's answer


class Proxy:
    """An HTTP proxy by its URL, which may hold a name and a password for it. Raises ValueError for what is no URL."""

    def __init__(self, url: str) -> None:
        self.origin = origin(url)
        who = urlsplit(url)
        login = f"{unquote(who.username or '')}:{unquote(who.password or '')}".encode()
        self.authorization = f"Basic {base64.b64encode(login).decode()}" if who.username else ""


class Dialer:
    """Makes connections, through a proxy if there is one, only to addresses that `permit` allows."""

    def __init__(
        self,
        *,
        server_name: str,
        proxy: Proxy | None,
        permit: Callable[[str], bool] | None,
        connect: Connect | None = None,
    ) -> None:
        """`server_name` is whose certificate a server has to show; if it is empty, that of its host. What `connect`
        makes is taken in place of a connection to an address; TLS goes over it all the same.
        """
        self._connect_otherwise = connect
        self._server_name = server_name
        self._proxy = proxy
        self._permit = permit

    async def dial(self, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        """A connection that can be used. Raises NotAllowed for an address, else Unreachable; takes any time."""
        try:
            if self._proxy is None or to.scheme == "http":
                first = self._proxy.origin if self._proxy else to
                return await self._open(first, tls, self._server_name if first is to else "")
            return await self._through(self._proxy, to, tls)
        except OSError as error:
            raise Unreachable(f"{to}: {why(error)}") from error

    async def _open(self, to: Origin, tls: ssl.SSLContext | None, server_name: str) -> Connection:
        sock = await self._connect(to)
        _, connection = await _speak(lambda: Connection(str(to)), sock, to, tls, server_name)
        return connection

    async def _through(self, proxy: Proxy, to: Origin, tls: ssl.SSLContext | None) -> Connection:
        sock = await self._connect(proxy.origin)
        transport, tunnel = await _speak(_Tunnel, sock, proxy.origin, tls, "")
        try:
            await tunnel.open(to, proxy)
            connection = Connection(str(to))
            assert tls is not None
            upper = await asyncio.get_running_loop().start_tls(
                transport, connection, tls, server_hostname=self._server_name or to.host
            )
            assert upper is not None
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(upper)
        return connection

    async def _connect(self, to: Origin) -> socket.socket:
        if self._connect_otherwise is not None:
            return await self._connect_otherwise()
        infos: Sequence[AddressInfo] = await asyncio.get_running_loop().getaddrinfo(
            to.host, to.port, type=socket.SOCK_STREAM
        )
        allowed = [info for info in infos if self._permit is None or self._permit(str(info[4][0]))]
        if infos and not allowed:
            raise NotAllowed(f"{to} is at an address that targets may not have")
        return await _quickest(allowed)


_P = TypeVar("_P", bound=asyncio.Protocol)


async def _speak(
    protocol: Callable[[], _P], sock: socket.socket, to: Origin, tls: ssl.SSLContext | None, server_name: str
) -> tuple[asyncio.Transport, _P]:
    """A transport over a connected socket, with TLS if the server's URL says so."""
    secure, name = (tls, server_name or to.host) if to.scheme == "https" else (None, None)
    with _closing(sock):
        return await asyncio.get_running_loop().create_connection(protocol, sock=sock, ssl=secure, server_hostname=name)


class _Tunnel(asyncio.Protocol):
    """The answer of a proxy that is asked for a way through."""

    def __init__(self) -> None:
        self._head = b""
        self._answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._head += data
        if (b"\r\n\r\n" in self._head or len(self._head) > _LONGEST_HEAD) and not self._answered.done():
            self._answered.set_result(self._head)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_result(b"")

    async def open(self, to: Origin, proxy: Proxy) -> None:
        where = f"[{to.host}]:{to.port}" if ":" in to.host else str(to)
        login = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        self._transport.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{login}\r\n".encode())
        version, _, rest = (await self._answered).partition(b" ")
        status = rest[:3].decode("latin-1")
        if not version.startswith(b"HTTP/1.") or not status.isdecimal():
            raise Unreachable(f"{to}: the proxy does not answer in HTTP")
        if not status.startswith("2"):
            raise Unreachable(f"{to}: the proxy answered {status}")


async def _quickest(infos: Sequence[AddressInfo]) -> socket.socket:
    """The first of these addresses that answers; each one gets a head start before the next. Raises OSError."""
    if len(infos) == 1:
        return await _try(infos[0])
    left = list(infos)
    failed: OSError = OSError("no address")
    trying: set[asyncio.Task[socket.socket]] = set()
    try:
        while left or trying:
            if left:
                trying.add(asyncio.create_task(_try(left.pop(0))))
            done, trying = await asyncio.wait(
                trying, timeout=_NEXT_ADDRESS if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                if (error := each.exception()) is None:
                    trying |= done - {each}
                    return each.result()
                if not isinstance(error, OSError):
                    raise error
                failed = error
        raise failed
    finally:
        for task in trying:
            task.cancel()
        for found in await asyncio.gather(*trying, return_exceptions=True):
            if isinstance(found, socket.socket):
                found.close()


async def _try(info: AddressInfo) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    with _closing(sock):
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    return sock


@contextlib.contextmanager
def _closing(sock: socket.socket) -> Any:
    """Close the socket if anything goes wrong meanwhile."""
    try:
        yield
    except BaseException:
        sock.close()
        raise

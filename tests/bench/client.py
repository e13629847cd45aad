"""What a request costs the client that sends it: ours beside others, over TLS against the sandbox.

    python -m tests.bench.client

Prints for each the processor time of a GET of 1 KB, 50 in flight, and of an event of a watch, and how many requests a
second it made; the server is a process of its own. What is not installed is left out: only ours and aiohttp are part of
the development environment. `floor` sends bytes that were made before, and counts the bytes that come.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from tests.bench.machine import machine
from tests.bench.sandbox import CONFIGS, Http, config, server

IN_FLIGHT = 50
REQUESTS = 5_000
EVENTS = 3_000
PAYLOAD = 800  # bytes of data in the object that is read; with its metadata it is 1 KB
HEADERS = {"Authorization": "Bearer bench", "Accept": "application/json"}
Ask = Callable[[str], Awaitable[Any]]


@dataclass
class Place:
    """The server: its URL, and the path of the certificate that it is to be trusted by."""

    url: str
    certificate: str

    @property
    def authority(self) -> bytes:
        return Path(self.certificate).read_bytes()

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)


@asynccontextmanager
async def ours(place: Place) -> AsyncIterator[Ask]:
    who = Credentials(server=place.url, ca=place.authority, token="bench")
    async with Client(who, connections=IN_FLIGHT) as client:
        yield lambda path: client.request("GET", path)


@asynccontextmanager
async def bare_aiohttp(place: Place) -> AsyncIterator[Ask]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=place.trust)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def ask(path: str) -> bytes:
            async with session.get(place.url + path) as response:
                return await response.read()

        yield ask


@asynccontextmanager
async def kubernetes_asyncio(place: Place) -> AsyncIterator[Ask]:
    from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api

    configuration = Configuration(host=f"{place.url}/clusters/root", api_key={"BearerToken": "Bearer bench"})
    configuration.ssl_ca_cert = place.certificate
    configuration.connection_pool_maxsize = IN_FLIGHT
    async with ApiClient(configuration) as client:
        core = CoreV1Api(client)

        async def ask(path: str) -> Any:
            *_, name = path.split("/")
            return await core.read_namespaced_config_map(name, "default", _preload_content=False)

        yield ask


@asynccontextmanager
async def httpx(place: Place) -> AsyncIterator[Ask]:
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(verify=place.trust, headers=HEADERS, limits=limits, timeout=30) as client:
        yield lambda path: client.get(place.url + path)


@asynccontextmanager
async def httpcore(place: Place) -> AsyncIterator[Ask]:
    import httpcore

    async with httpcore.AsyncConnectionPool(ssl_context=place.trust, max_connections=IN_FLIGHT) as pool:
        yield lambda path: pool.request("GET", place.url + path, headers=HEADERS)


@asynccontextmanager
async def niquests(place: Place) -> AsyncIterator[Ask]:
    import niquests

    async with niquests.AsyncSession(pool_connections=IN_FLIGHT, pool_maxsize=IN_FLIGHT) as session:
        session.verify = False  # it refuses a certificate that is its own authority, as the sandbox's is
        session.headers.update(HEADERS)
        yield lambda path: session.get(place.url + path)


@asynccontextmanager
async def pyreqwest(place: Place) -> AsyncIterator[Ask]:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().danger_accept_invalid_certs(True).default_headers(HEADERS)  # as with niquests
    async with builder.build() as client:

        async def ask(path: str) -> Any:
            response = await client.get(place.url + path).build().send()
            return await response.bytes()

        yield ask


@asynccontextmanager
async def floor(place: Place) -> AsyncIterator[Ask]:
    """As little as it takes: on each connection the same bytes go out, and those of one answer are counted."""
    port = int(place.url.rpartition(":")[2])
    message = size = None
    free: asyncio.Queue[tuple[asyncio.Transport, _Counting]] = asyncio.Queue()
    for _ in range(IN_FLIGHT):
        made: Any = await asyncio.get_running_loop().create_connection(_Counting, "127.0.0.1", port, ssl=place.trust)
        free.put_nowait(made)

    async def ask(path: str) -> None:
        nonlocal message, size
        if message is None:
            http = await Http.connect(port, place.trust)
            message = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\n\r\n".encode()
            size = sum(map(len, await http.answer("GET", path)))
        transport, counting = await free.get()
        transport.write(message)
        await counting.until(size)
        free.put_nowait((transport, counting))

    yield ask


class _Counting(asyncio.Protocol):
    def __init__(self) -> None:
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    async def until(self, size: int | None) -> None:
        self._left = size or 0
        self._done = asyncio.get_running_loop().create_future()
        await self._done

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0 and self._done is not None:
            self._done.set_result(None)


OTHERS = (floor, ours, bare_aiohttp, kubernetes_asyncio, niquests, pyreqwest, httpcore, httpx)


async def gets(ask: Ask, path: str) -> str:
    async def some(count: int) -> None:
        for _ in range(count):
            await ask(path)

    await some(1)
    await asyncio.gather(*(some(2) for _ in range(IN_FLIGHT)))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(some(REQUESTS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    return f"{cpu / REQUESTS * 1e6:5.0f} µs a request, {REQUESTS / took:6,.0f} a second"


async def watch_ours(place: Place) -> AsyncIterator[bytes]:
    who = Credentials(server=place.url, ca=place.authority, token="bench")
    params = {"watch": True, "resourceVersion": "0"}
    async with Client(who) as client, client.stream(CONFIGS.format("root"), params=params, idle=30) as lines:
        async for line in lines:
            yield line


async def watch_aiohttp(place: Place) -> AsyncIterator[bytes]:
    import aiohttp

    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.get(f"{place.url}{CONFIGS.format('root')}?watch=1&resourceVersion=0", ssl=place.trust) as response,
    ):
        async for line in response.content:
            yield line


async def events(watch: Callable[[Place], AsyncIterator[bytes]], place: Place) -> str:
    """What the events of all objects that there are cost, as a watch from the beginning sends them."""
    cpu = 0.0
    async with contextlib.aclosing(watch(place)) as lines:  # type: ignore[type-var]  # both are generators
        await anext(lines)
        cpu = time.process_time()
        for _ in range(EVENTS - 1):
            await anext(lines)
        cpu = time.process_time() - cpu
    return f"{cpu / EVENTS * 1e6:5.1f} µs an event"


async def bench(place: Place) -> None:
    http = await Http.connect(int(place.url.rpartition(":")[2]), place.trust)
    body = json.dumps({"metadata": {"name": "read"}, "data": {"key": "v" * PAYLOAD}}).encode()
    await http.ask("POST", CONFIGS.format("root"), body)
    for other in OTHERS:
        async with AsyncExitStack() as stack:
            try:
                ask = await stack.enter_async_context(other(place))
                said = await gets(ask, f"{CONFIGS.format('root')}/read")
            except ImportError:
                said = "not installed"
            except Exception as error:  # noqa: BLE001 - whatever it raises, the next one can be measured
                said = f"failed: {type(error).__name__}: {error}"[:100]
        print(f"GET    {other.__name__:<20} {said}", flush=True)
    http = await Http.connect(int(place.url.rpartition(":")[2]), place.trust)  # the other one waited for too long
    for number in range(EVENTS):
        await http.ask("POST", CONFIGS.format("root"), config(f"c{number}"))
    for watch in (watch_ours, watch_aiohttp):
        print(f"watch  {watch.__name__.removeprefix('watch_'):<20} {await events(watch, place)}", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"machine: {machine()}")
    hear, say = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=server, args=(say, True), daemon=True)
    process.start()
    port, certificate = hear.recv()
    try:
        uvloop.run(bench(Place(f"https://127.0.0.1:{port}", certificate)))
    finally:
        process.kill()


if __name__ == "__main__":
    main()

"""How fast and how small the sandbox is, over real sockets, the server in a process of its own.

    python -m tests.bench.sandbox [--tls]

Prints creates a second and what one costs the server, the latency from a create's request to its watch event, how long
a list of 10,000 objects takes, and the memory of 1,000 workspaces with 20,000 objects and 1,000 open watches.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import ssl
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import uvloop

from services.sandbox.run import serve
from services.sandbox.world.world import World
from shared.process.memory import keep_large_blocks_apart
from tests.bench.machine import machine, spread

CREATES = 10_000
CONNECTIONS = 16
EVENTS = 1_000
WORKSPACES = 1_000
OBJECTS = 20
CONFIGS = "/clusters/{}/api/v1/namespaces/default/configmaps"
WORKSPACE_PATH = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"


def server(said: Connection, tls: bool) -> None:
    """Serve an empty world until killed; says the port, the administrator's token, and the certificate's path."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(admin_token="bench")
            async with serve(world, "127.0.0.1", 0, Path(folder), tls=tls) as ready:
                said.send((int(ready.url.rpartition(":")[2]), str(Path(folder) / "sandbox.crt")))
                await asyncio.Event().wait()

    keep_large_blocks_apart()  # as `services.sandbox` does
    uvloop.run(run())


class Http:
    """One connection, one request at a time, as little of a client as it takes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, trust: ssl.SSLContext | None) -> "Http":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=trust, limit=1 << 24))

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\nContent-Type: application/json"
        self._writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        return (await self.answer(method, path, body))[1]

    async def answer(self, method: str, path: str, body: bytes = b"") -> tuple[bytes, bytes]:
        """Head and body."""
        self.send(method, path, body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ", 2)[1].startswith(b"2"), head
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return head, await self._reader.readexactly(length)

    async def watch(self, path: str) -> None:
        """Begin to watch; returns with the head of the answer."""
        self.send("GET", path)
        await self._reader.readuntil(b"\r\n\r\n")

    async def event(self) -> bytes:
        """The next line of JSON; the framing of chunks is skipped."""
        while not (line := await self._reader.readline()).startswith(b"{"):
            assert line
        return line


def config(name: str) -> bytes:
    labels = {"app": "shop", "tier": name[-1]}
    return json.dumps({"metadata": {"name": name, "labels": labels}, "data": {"key": "value" * 20}}).encode()


async def creates(clients: list[Http], process: psutil.Process) -> str:
    names = (f"c{number}" for number in range(CREATES))

    async def work(client: Http, names: Iterator[str]) -> None:
        for name in names:
            await client.ask("POST", CONFIGS.format("root"), config(name))

    cpu, began = sum(process.cpu_times()[:2]), time.perf_counter()
    await asyncio.gather(*(work(client, names) for client in clients))
    took = time.perf_counter() - began
    each = (sum(process.cpu_times()[:2]) - cpu) / CREATES * 1e6
    return f"{CREATES / took:,.0f} a second, {each:.0f} µs of the server's processor time each"


async def listing(client: Http) -> str:
    times = []
    for _ in range(10):
        began = time.perf_counter()
        body = await client.ask("GET", CONFIGS.format("root"))
        times.append((time.perf_counter() - began) * 1e3)
    return f"{spread(times)}, {len(body) / 1e6:.1f} MB"


async def latency(writer: Http, watcher: Http) -> str:
    version = json.loads(await writer.ask("GET", f"{CONFIGS.format('root')}?limit=1"))["metadata"]["resourceVersion"]
    await watcher.watch(f"{CONFIGS.format('root')}?watch=1&resourceVersion={version}")
    times = []
    for number in range(EVENTS):
        began = time.perf_counter()
        answer = asyncio.ensure_future(writer.ask("POST", CONFIGS.format("root"), config(f"w{number}")))
        await watcher.event()
        times.append((time.perf_counter() - began) * 1e3)
        await answer
    return spread(times)


async def size(clients: list[Http], port: int, trust: ssl.SSLContext | None, process: psutil.Process) -> str:
    numbers = iter(range(WORKSPACES))

    async def work(client: Http) -> list[Http]:
        watches = []
        for number in numbers:
            name = f"w{number}"
            await client.ask("POST", WORKSPACE_PATH, json.dumps({"metadata": {"name": name}}).encode())
            path = CONFIGS.format(f"root:{name}")
            for each in range(OBJECTS):
                await client.ask("POST", path, config(f"c{each}"))
            watches.append(await Http.connect(port, trust))
            await watches[-1].watch(f"{path}?watch=1")
        return watches

    open_watches = list(itertools.chain(*await asyncio.gather(*(work(client) for client in clients))))
    rss = process.memory_info().rss / 2**20
    return f"{rss:.0f} MB resident ({len(open_watches)} watches)"


async def measure(port: int, trust: ssl.SSLContext | None, process: psutil.Process, *, big: bool) -> None:
    clients = [await Http.connect(port, trust) for _ in range(CONNECTIONS)]
    if big:
        print(f"1,000 workspaces, 20,000 objects, 1,000 watches: {await size(clients, port, trust, process)}")
        return
    print(f"creates: {await creates(clients, process)}")
    print(f"list of {CREATES:,}: {await listing(clients[0])}")
    print(f"create to watch event: {await latency(clients[0], clients[1])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", action="store_true", help="as `moorage sandbox` serves (default: plain HTTP)")
    tls = parser.parse_args().tls
    print(machine())
    spawn = multiprocessing.get_context("spawn")
    for big in (False, True):
        said, says = spawn.Pipe(duplex=False)
        child = spawn.Process(target=server, args=(says, tls), daemon=True)
        child.start()
        try:
            port, certificate = said.recv()
            trust = ssl.create_default_context(cafile=certificate) if tls else None
            asyncio.run(measure(port, trust, psutil.Process(child.pid), big=big))
        finally:
            child.terminate()
            child.join()


if __name__ == "__main__":
    main()

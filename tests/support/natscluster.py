"""Three NATS servers that make one cluster, each in a directory of its own."""

import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from tests.support import waiting

NAMES = ("a", "b", "c")
UNAVAILABLE = 10008  # JetStream's code for a cluster that has no leader just now
CAUGHT_UP = 150.0  # seconds that a server may take to have what it missed, on a busy machine


class NatsCluster:
    """The servers by name."""

    def __init__(self, folder: Path, *, monitoring: bool = False) -> None:
        ports = free_ports(3 * len(NAMES))
        shown = [f"127.0.0.1:{port}" for port in ports[2 * len(NAMES) :]] if monitoring else []
        self._folder = folder
        routes = [f"nats://127.0.0.1:{port}" for port in ports[: len(NAMES)]]
        self.monitoring = [f"http://{each}" for each in shown]
        """Where the servers tell of themselves, by name; empty unless they are to."""
        self.servers = {
            name: NatsServer(
                folder / name,
                port=port,
                config={
                    "server_name": name,
                    "cluster": {"name": "test", "host": "127.0.0.1", "port": route, "routes": routes},
                    **({"http": shown[number]} if monitoring else {}),
                },
            )
            for number, (name, route, port) in enumerate(zip(NAMES, ports, ports[len(NAMES) :], strict=False))
        }

    @property
    def url(self) -> str:
        """All servers, as clients take them."""
        return ",".join(server.url for server in self.servers.values())

    def client(self) -> contextlib.AbstractAsyncContextManager[NatsClient]:
        """A connection to whichever server is there."""
        return _client(self.url)

    async def wipe(self, name: str) -> None:
        """Stop one server, and start it with an empty disk."""
        await self.servers[name].stop()
        shutil.rmtree(self._folder / name)
        await self.servers[name].start()

    async def restart(self, name: str) -> None:
        """Stop one server in good order, and start it with what it had."""
        await self.servers[name].stop()
        await self.servers[name].start()

    async def whole(self) -> None:
        """Wait until every stream has a leader, and all its copies are up to date."""
        async with self.client() as client:

            async def behind() -> list[str]:
                try:
                    return [each["config"]["name"] for each in await streams(client) if not _is_whole(each)]
                except JetStreamError as error:
                    if error.code != UNAVAILABLE:
                        raise
                    return ["all, as nobody leads"]

            await waiting.until(behind, "streams that lack a copy", holds=lambda found: not found, within=CAUGHT_UP)


@asynccontextmanager
async def nats_cluster(folder: Path, *, monitoring: bool = False) -> AsyncIterator[NatsCluster]:
    """A cluster whose JetStream has a leader; `monitoring`: whether its servers tell of themselves over HTTP."""
    cluster = NatsCluster(folder, monitoring=monitoring)
    async with AsyncExitStack() as stack:
        for server in cluster.servers.values():
            await stack.enter_async_context(server)
        async with cluster.client() as client:
            await client.request("$JS.API.STREAM.NAMES", deadline=60.0)  # repeated while nobody answers
        yield cluster


async def streams(client: NatsClient) -> list[dict[str, Any]]:
    """What JetStream says of each stream, those of buckets among them."""
    found: list[dict[str, Any]] = (await client.api("STREAM.LIST"))["streams"]
    return found


def _is_whole(stream: dict[str, Any]) -> bool:
    where = stream.get("cluster") or {}
    others = where.get("replicas") or ()
    return bool(where.get("leader")) and len(others) == len(NAMES) - 1 and all(each.get("current") for each in others)


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[NatsClient]:
    client = await NatsClient.connect(url, name="test")
    try:
        yield client
    finally:
        await client.close()


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that are free just now, each another."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]

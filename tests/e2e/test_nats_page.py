"""docs/nats.md: its commands, with three real servers from deploy/nats/cluster.conf; names and ports are others."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from shared.broker.nats.client import NatsClient
from tests.e2e.pages import ROOT, WITHIN, blocks
from tests.support.natscluster import free_ports
from tests.support.ports import listens
from tests.support.process import BIN, Process, process
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(4 * WITHIN), pytest.mark.xdist_group("pages")]

PORTS = ("4222", "6222", "8222")
MANY = 3  # servers


class Page:
    """Commands of the page, typed where nats-0, nats-1 and nats-2 are servers on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = iter(free_ports(MANY * len(PORTS)))
        self._ports = {(str(number), port): str(next(ports)) for number in range(MANY) for port in PORTS}
        self._blocks = blocks((ROOT / "docs/nats.md").read_text())
        self._servers: dict[int, tuple[AsyncExitStack, Process]] = {}
        for number in range(MANY):
            own = folder / str(number) / "deploy/nats"
            own.mkdir(parents=True)
            shipped = self._here((ROOT / "deploy/nats/cluster.conf").read_text())
            for port in PORTS:
                shipped = shipped.replace(f"port: {port}", f"port: {self._ports[str(number), port]}")
            (own / "cluster.conf").write_text(shipped.replace("/data", str(own / "data")))

    def _here(self, text: str) -> str:
        return re.sub(
            r"nats-(\d):(\d+)", lambda found: f"127.0.0.1:{self._ports[found.group(1), found.group(2)]}", text
        )

    def block(self, about: str) -> str:
        """The one block of commands that has these words."""
        (found,) = (each for each in self._blocks if about in each)
        return self._here(found)

    async def start(self, number: int) -> None:
        command = self.block("nats-server -c deploy/nats/cluster.conf").replace("nats-0", f"nats-{number}")
        stack = AsyncExitStack()
        server = await stack.enter_async_context(self._typed(f"exec env {command.strip()}", self._folder / str(number)))
        self._servers[number] = stack, server
        for port in PORTS:
            there = int(self._ports[str(number), port])
            await until(lambda there=there: listens(there), f"nats-{number} listens at {port}", within=WITHIN)

    async def stop(self, number: int) -> None:
        stack, server = self._servers.pop(number)
        async with stack:
            server.terminate()
            await server.ends()

    async def leader(self) -> None:
        """Until the servers have chosen who leads their JetStream: without, it answers nothing."""
        client = await NatsClient.connect(self._here("nats://nats-0:4222"), name="test")
        try:
            await client.request("$JS.API.STREAM.NAMES", deadline=WITHIN)  # repeated while nobody answers
        finally:
            await client.close()

    async def close(self) -> None:
        for number in tuple(self._servers):
            await self.stop(number)

    async def types(self, about: str, *, ends: int = 0) -> str:
        """Type that block after the settings that the page exports; what was printed."""
        settings = next(line for line in self.block("moorage provision").splitlines() if line.startswith("export"))
        async with self._typed(f"{settings}\n{self.block(about)}", self._folder) as user:
            assert await user.ends(WITHIN) == ends, user.output
            return user.output

    def _typed(self, commands: str, folder: Path) -> AbstractAsyncContextManager[Process]:
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(self._folder)}
        return process(["bash", "-euc", commands], env, cwd=folder)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    found = Page(tmp_path)
    try:
        for number in range(MANY):
            await found.start(number)
        await found.leader()
        yield found
    finally:
        await found.close()


async def test_three_servers_are_provisioned_restarted_one_by_one_and_looked_at(page: Page) -> None:
    assert "stream/MOORAGE_PIPELINE" in await page.types("moorage provision")
    for number in range(MANY):
        await page.types("until moorage doctor")
        await page.stop(number)
        await page.start(number)
    await page.types("until moorage doctor")

    async def told() -> set[str]:
        said = await page.types("--nats-monitoring", ends=1)  # as there is no hub here
        return {line.strip().split("  server at")[0] for line in said.splitlines()}

    well, lost = {"NATS servers: looked at 3, nothing wrong"}, {"ServerLost  server nats-1", "MonitoringUnreachable"}
    await until(told, "nothing is wrong", holds=lambda found: well <= found, within=WITHIN)
    await page.stop(1)
    await until(told, "a server is lost", holds=lambda found: lost <= found, within=WITHIN)

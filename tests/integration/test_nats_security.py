"""deploy/nats/secure.conf on a real nats-server: who may do what, over TLS, and a worker that lives with it."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services import PIPELINE
from services.cli.nats import keys_in
from services.sandbox.wire.certificate import self_signed
from shared.broker.nats.permissions import API_PREFIX
from shared.broker.nats.server import find_binary
from tests.support.compose import ROOT
from tests.support.process import Process, http_get, process
from tests.support.waiting import until


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server with the configuration as it is shipped, but for paths and the port."""
    certificate, key = self_signed(["127.0.0.1"], datetime.now(UTC))
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    shipped = (ROOT / "deploy/nats/secure.conf").read_text()
    moved = shipped.replace("/etc/nats/tls", str(tmp_path)).replace("/data", str(tmp_path / "data"))
    (tmp_path / "permissions.conf").write_text((ROOT / "deploy/nats/permissions.conf").read_text())
    config = tmp_path / "nats.conf"
    config.write_text(moved.replace("port: 4222", "port: -1"))
    command = [str(find_binary()), "-c", str(config), "-a", "127.0.0.1", "--ports_file_dir", str(tmp_path)]
    names = ("admin", "operator", *PIPELINE)
    public = {f"MOORAGE_NKEY_{name.upper()}": key for name, key in keys_in(tmp_path / "seeds", names).items()}
    async with process(command, {**os.environ, **public}) as server:
        ports = tmp_path / f"nats-server_{server.child.pid}.ports"
        await until(lambda: ports.exists() and ports.read_text(), within=30)
        yield json.loads(ports.read_text())["nats"][0].replace("tls://", "nats://")


def environment(nats: str, tmp_path: Path, user: str) -> dict[str, str]:
    return {
        **os.environ,
        "MOORAGE_NATS_URL": nats,
        "MOORAGE_NATS_NKEY": str(tmp_path / "seeds" / f"{user}.nk"),
        "MOORAGE_NATS_CA": str(tmp_path / "tls.crt"),
        "MOORAGE_NATS_API_PREFIX": "$JS.API" if user == "admin" else API_PREFIX,
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
    async with process(["moorage", "worker", "scheduler"], environment(nats, tmp_path, "scheduler")) as worker:
        ready = await worker.record(lambda record: record["message"] == "ready")
        assert await http_get(ready["health_port"], "/readyz") == (200, "ok\n")
        worker.terminate()
        assert await worker.ends() == 0, worker.output


async def test_the_user_of_a_worker_cannot_provision(nats: str, tmp_path: Path) -> None:
    code, provisioning = await run(["moorage", "provision"], environment(nats, tmp_path, "scheduler"))
    assert code == 1
    assert "permissions" in provisioning.output.lower()
    assert (tmp_path / "seeds" / "scheduler.nk").read_text().strip() not in provisioning.output


async def test_the_operator_lists_dead_letters(nats: str, tmp_path: Path) -> None:
    assert (await run(["moorage", "provision"], environment(nats, tmp_path, "admin")))[0] == 0
    code, listing = await run(["moorage", "dead", "list"], environment(nats, tmp_path, "operator"))
    assert (code, listing.lines[:1]) == (0, ["no dead letters"])

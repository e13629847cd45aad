"""What compose.yaml starts, as real processes here: they come up, drain, and say in one line what is wrong."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services import PIPELINE
from shared.api import PlacementSpec
from shared.broker.claims import send
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.pipeline.messages import Evaluated, encode
from tests.support.compose import ROOT, SERVICES, command
from tests.support.otlp import metrics_receiver, receiver
from tests.support.process import BIN, BOUND, Process, http_get, process
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRAIN = 10.0  # seconds within which a worker with nothing in hand ends
OF_THE_HUB = tuple(name for name in PIPELINE if "MOORAGE_KUBECONFIG" in SERVICES[name]["environment"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The services `sandbox` and `offer`, as compose.yaml starts them; the folder with kubeconfigs."""
    data = tmp_path_factory.mktemp("data")
    async with process(here("sandbox", data), environment()) as sandbox:
        await sandbox.record(lambda record: record["message"] == "sandbox ready")
        async with process(here("offer", data), environment()) as offer:
            assert await offer.ends() == 0, offer.output
        yield data


def here(service: str, data: Path) -> list[str]:
    """The command of a service with the paths, host and port of this machine in place of the container's."""
    places = {
        "/app/examples/world.yaml": str(ROOT / "examples/world.yaml"),
        "0.0.0.0": "127.0.0.1",
        "sandbox": "localhost",
        "6443": "0",
    }
    moved = [places.get(word, word.replace("/data", str(data))) for word in command(service)]
    return [*command(service)[:1], *moved[1:]]


def environment(service: str = "", **changes: str) -> dict[str, str]:
    """A service's own environment, nothing of ours but where programs and coverage data are; `changes` on top."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
    given = SERVICES[service].get("environment", {}) if service else {}
    exported = {name: value for name, value in given.items() if not name.startswith("OTEL_")}
    return {**kept, **exported, "HOME": "/nonexistent", **changes}


def worker_environment(name: str, nats_url: str, data: Path | None, **changes: str) -> dict[str, str]:
    """That of a worker, with what is elsewhere on this machine: NATS, the kubeconfig, a free port."""
    there = {"MOORAGE_NATS_URL": nats_url, "MOORAGE_HEALTH_PORT": "0"}
    # This NATS has no users: who they are and what they may do is shown in tests/security/test_bus.py.
    there |= {"MOORAGE_NATS_NKEY": "", "MOORAGE_NATS_API_PREFIX": "$JS.API", "MOORAGE_PROVISION": "true"}
    if name == "intake":
        there["MOORAGE_USERS_FILE"] = str(ROOT / "examples" / "users.yaml")
    if name in OF_THE_HUB and data is not None:
        there["MOORAGE_KUBECONFIG"] = str(data / "admin.kubeconfig")
    return environment(name, **{**there, **changes})


@asynccontextmanager
async def ready(name: str, env: dict[str, str]) -> AsyncIterator[tuple[Process, int]]:
    """A worker that takes work, and the port of its health."""
    async with process(command(name), env) as running:
        record = await running.record(lambda record: record["message"] == "ready")
        yield running, record["health_port"]


def complaints(running: Process) -> list[dict[str, Any]]:
    return [record for record in running.records if record["level"] in ("error", "critical")]


async def end_well(running: Process) -> None:
    """SIGTERM, then exit code 0 in time and no complaint."""
    running.terminate()
    async with asyncio.timeout(DRAIN):
        assert await running.ends() == 0, running.output
    assert not complaints(running), running.output


async def one_line_why(running: Process) -> str:
    """What a process that cannot go on says: one line, no trace, exit code 1."""
    assert await running.ends() == 1, running.output
    (complaint,) = complaints(running)
    assert "exception" not in complaint
    assert "Traceback" not in running.output
    return str(complaint["message"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def discovery(nats: NatsServer, hub: Path) -> AsyncIterator[None]:
    """A copy at work: on fresh state, decision is not ready before the workspaces were walked once."""
    async with ready("discovery", worker_environment("discovery", nats.url, hub)):
        yield


@pytest.mark.usefixtures("discovery")
@pytest.mark.parametrize("name", PIPELINE)
async def test_a_worker_becomes_ready_and_ends_well_when_told_to(name: str, nats: NatsServer, hub: Path) -> None:
    async with ready(name, worker_environment(name, nats.url, hub)) as (running, port):
        assert await http_get(port, "/healthz") == (200, "ok\n")
        assert await http_get(port, "/readyz") == (200, "ok\n")
        assert (await http_get(port, "/nothing"))[0] == 404
        status, metrics = await http_get(port, "/metrics")
        assert status == 200
        assert 'moorage_refusals_total{reason="NotAuthorized"} 0.0' in metrics.splitlines()
        await end_well(running)


async def test_a_worker_sends_metrics_over_otlp_and_writes_everything_when_told_to(nats: NatsServer) -> None:
    async with metrics_receiver() as (url, came):
        env = worker_environment("policy", nats.url, None)
        env |= {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
        async with ready("policy", env) as (running, _):
            await until(lambda: came, within=BOUND)
            for level in ("debug", "info"):
                running.child.send_signal(signal.SIGUSR1)
                await running.record(lambda record, said=f"log level is {level}": record["message"] == said)
            await end_well(running)
    (resource,) = came[-1].resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "moorage-policy"
    names = {each.name for each in resource.scope_metrics[0].metrics}
    assert {"moorage.dead_letters", "moorage.consumer.pending", "process_cpu_seconds_total"} <= names


async def test_all_workers_run_in_one_process(nats: NatsServer, hub: Path) -> None:
    """`python -m services`, for development: every worker becomes ready, and all end well together."""
    env = worker_environment("decision", nats.url, hub)
    async with process([sys.executable, "-m", "services"], env, cwd=ROOT) as running:
        ports = set()
        while len(ports) < len(PIPELINE):
            record = await running.record(
                lambda found: found["message"] == "ready" and found["health_port"] not in ports
            )
            ports.add(record["health_port"])
        for port in ports:
            assert await http_get(port, "/readyz") == (200, "ok\n")
        await end_well(running)


async def test_all_workers_wait_for_nats_and_say_so(tmp_path: Path, hub: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    async with AsyncExitStack() as stack:
        started = []
        for name in PIPELINE:
            env = worker_environment(name, f"nats://127.0.0.1:{port}", hub)
            started.append(await stack.enter_async_context(process(command(name), env)))
        for running in started:
            waiting = await running.record(lambda record: record["level"] == "warning")
            assert f"waiting for NATS at nats://127.0.0.1:{port}" in waiting["message"]
        async with NatsServer(tmp_path / "nats", port=port):
            for running in started:
                record = await running.record(lambda record: record["message"] == "ready")
                assert (await http_get(record["health_port"], "/readyz"))[0] == 200
            for running in started:
                await end_well(running)


async def test_a_worker_that_waits_for_nats_can_be_stopped() -> None:
    async with process(command("scheduler"), worker_environment("scheduler", "nats://127.0.0.1:1", None)) as running:
        await running.record(lambda record: "waiting for NATS" in record["message"])
        await end_well(running)


@pytest.mark.parametrize("name", PIPELINE)
async def test_a_health_port_that_is_taken_is_one_line(name: str, nats: NatsServer, hub: Path, taken: int) -> None:
    env = worker_environment(name, nats.url, hub, MOORAGE_HEALTH_PORT=str(taken))
    async with process(command(name), env) as running:
        why = await one_line_why(running)
    assert str(taken) in why
    assert "address already in use" in why.lower()


@pytest.mark.parametrize("name", PIPELINE)
async def test_a_wrong_token_is_one_line_that_does_not_show_it(name: str, tmp_path: Path, hub: Path) -> None:
    async with NatsServer(tmp_path / "nats", config={"authorization": {"token": "right"}}) as guarded:
        env = worker_environment(name, guarded.url, hub, MOORAGE_NATS_TOKEN="wr0ng")
        async with process(command(name), env) as running:
            why = await one_line_why(running)
    assert "refused the connection" in why
    assert "wr0ng" not in running.output


@pytest.mark.parametrize("name", OF_THE_HUB)
async def test_a_missing_kubeconfig_is_one_line(name: str, nats: NatsServer, tmp_path: Path) -> None:
    missing = tmp_path / "none.kubeconfig"
    env = worker_environment(name, nats.url, None, MOORAGE_KUBECONFIG=str(missing))
    async with process(command(name), env) as running:
        assert str(missing) in await one_line_why(running)


async def test_no_credentials_at_all_is_one_line(nats: NatsServer) -> None:
    env = worker_environment("decision", nats.url, None, MOORAGE_KUBECONFIG="")
    async with process(command("decision"), env) as running:
        assert "no Kubernetes credentials" in await one_line_why(running)


async def test_an_unusable_setting_is_one_line(nats: NatsServer) -> None:
    env = worker_environment("scheduler", nats.url, None, MOORAGE_HEALTH_PORT="many")
    async with process(command("scheduler"), env) as running:
        assert await running.ends() == 2
    assert running.lines[-1].startswith("moorage: MOORAGE_HEALTH_PORT: expected `int`")


async def test_a_worker_sends_its_spans_where_the_environment_says(nats: NatsServer) -> None:
    request = Request(
        placement=PlacementRef(workspace="root:team", namespace="shop", name="web"),
        head=Head(uid="u1", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(),
    )
    message = Evaluated(request=request, targets=(), inventory_revision=0)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with receiver() as otlp:
        exporter = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        env = worker_environment("scheduler", nats.url, None, **exporter)
        async with ready("scheduler", env) as (running, _):
            bus = await NatsBus.connect(nats.url, name="test")
            headers = {"traceparent": f"00-{trace}-{parent}-01"}
            await send(bus, message.subject(), encode(message), id=message.id(), headers=headers)
            await otlp.until(lambda spans: spans)
            await bus.close()
            await end_well(running)
        (span,) = otlp.spans
    assert (span.service, span.name, span.trace, span.parent) == (
        "moorage-scheduler",
        "process evaluated",
        trace,
        parent,
    )
    about = [span.attributes[f"moorage.{each}"] for each in ("workspace", "namespace", "name")]
    assert about == ["root:team", "shop", "web"]


async def test_a_sandbox_is_run_as_its_page_has_it(tmp_path: Path) -> None:
    lines = (ROOT / "docs/sandbox.md").read_text().splitlines()
    (typed,) = (each.split() for each in lines if each.startswith("    moorage sandbox run"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    async with process([str(BIN / "moorage"), *typed[1:]], environment(), cwd=tmp_path) as running:
        await running.record(lambda record: "kubeconfigs" in record)
        assert (tmp_path / ".moorage/sandbox/admin.kubeconfig").exists()
        running.terminate()
        assert await running.ends() == 0

"""A span that a worker sends is found in the Jaeger of compose.yaml."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from shared.process.tracing import Telemetry, current_trace
from tests.support.compose import SERVICES
from tests.support.jaeger import CONFIG

pytestmark = pytest.mark.docker

OTLP, QUERY = 4318, 16686
BOUND = 30.0


@pytest.fixture(scope="module")
def jaeger() -> Iterator[DockerContainer]:
    service = SERVICES["jaeger"]
    container = (
        DockerContainer(service["image"])
        .with_envs(**service["environment"])
        .with_command(service["command"])
        .with_volume_mapping(str(CONFIG), "/etc/jaeger/config.yaml")
        .with_exposed_ports(OTLP, QUERY)
        .waiting_for(HttpWaitStrategy(QUERY, "/").with_startup_timeout(60))
    )
    with container:
        yield container


def address(container: DockerContainer, port: int) -> str:
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


async def spans_of(query: str, trace: str) -> list[dict[str, Any]]:
    """The spans of a trace, once Jaeger has them: it answers 404 until then."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                answer = await asyncio.to_thread(get, f"{query}/api/traces/{trace}")
            except urllib.error.HTTPError as error:
                error.close()
                assert error.code == 404  # noqa: PT017 - anything else is no matter of waiting
            else:
                (found,) = answer["data"]
                spans: list[dict[str, Any]] = found["spans"]
                return spans
            await asyncio.sleep(0.1)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=BOUND) as response:
        return json.load(response)


async def test_two_workers_are_one_trace_in_jaeger(jaeger: DockerContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address(jaeger, OTLP))
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address(jaeger, OTLP)}
    first, second = Telemetry("controller", environment), Telemetry("discovery", environment)
    with first.span("controller reconcile", headers={}, about="root/shop/web", kind="producer") as span:
        trace = current_trace()
    with second.span("discovery discover", headers=span.headers, about="root/shop/web", kind="consumer"):
        assert current_trace() == trace
    for telemetry in (first, second):
        await asyncio.to_thread(telemetry.close)
    spans = await spans_of(address(jaeger, QUERY), trace)
    by_name = {span["operationName"]: span for span in spans}
    assert set(by_name) == {"controller reconcile", "discovery discover"}
    (reference,) = by_name["discovery discover"]["references"]
    assert reference["spanID"] == by_name["controller reconcile"]["spanID"]

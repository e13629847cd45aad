"""What Prometheus reads of a worker, over real HTTP, and how numbers are kept until then."""

import asyncio
import re
from pathlib import Path

import pytest

from shared.process import audit, health, measured
from shared.process.measured import METRICS
from shared.process.metrics import MOST_SERIES, OTHER, REGISTRY, CounterMetric, Metric, Reading, exported
from tests.support.process import http_get

DOCS = Path(__file__).parents[3] / "docs"


async def got(path: str, *readings: Reading) -> tuple[int, str]:
    async with health.serve("127.0.0.1", 0, lambda: "", lambda: readings) as port:
        assert port is not None
        return await http_get(port, path)


async def test_metrics_are_text_with_help_and_type_and_are_read_when_asked_for() -> None:
    number = 1.0
    reading = Metric(name="moorage.things", help="Things that there are.").number(lambda: number)
    number = 3
    status, text = await got("/metrics", reading)
    assert status == 200
    assert "# HELP moorage_things Things that there are.\n# TYPE moorage_things gauge\nmoorage_things 3.0\n" in text


async def test_refusals_are_shown_by_reason_those_that_never_were_as_well() -> None:
    before = audit.refusals["NotOurs"]
    audit.refused("NotOurs", requester="eve-of-another")
    status, text = await got("/metrics", audit.METRIC)
    lines = [line for line in text.splitlines() if line.startswith("moorage_refusals_total{")]
    assert status == 200
    assert "# TYPE moorage_refusals_total counter" in text.splitlines()
    assert f'moorage_refusals_total{{reason="NotOurs"}} {before + 1}.0' in lines
    assert {line.partition('"')[2].partition('"')[0] for line in lines} == audit.REASONS
    assert "eve-of" not in text


async def test_a_process_shows_its_processor_time_and_memory() -> None:
    _, text = await got("/metrics")
    assert re.search(r"^process_cpu_seconds_total \d", text, re.MULTILINE)
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)
    assert "_created" not in text


async def test_the_type_says_which_format_of_prometheus_it_is() -> None:
    async with health.serve("127.0.0.1", 0, lambda: "", tuple) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"content-type: text/plain; version=0.0.4" in answer


async def test_a_process_that_is_not_ready_says_why() -> None:
    async with health.serve("127.0.0.1", 0, lambda: "policy is starting", tuple) as port:
        assert port is not None
        assert await http_get(port, "/readyz") == (503, "policy is starting\n")
        assert await http_get(port, "/healthz") == (200, "ok\n")


def test_a_metric_has_a_bounded_number_of_series_whatever_its_labels_are_given() -> None:
    metric = CounterMetric(name="moorage.test.bounded", help="A test's.", labels={"word": "any"})
    for number in range(MOST_SERIES + 5):
        metric.add(str(number))
    assert REGISTRY.get_sample_value("moorage_test_bounded_total", {"word": "0"}) == 1
    assert REGISTRY.get_sample_value("moorage_test_bounded_total", {"word": OTHER}) == 5


def test_every_metric_is_declared_once_and_listed() -> None:
    declared = {each for each in vars(measured).values() if isinstance(each, Metric)}
    assert declared == set(METRICS)
    assert len({each.exposed for each in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda each: each.name)
def test_a_metric_has_a_name_of_ours_or_of_the_conventions_and_a_sentence(metric: Metric) -> None:
    assert metric.name.startswith(("moorage.", "messaging."))
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.exposed)
    assert metric.help.endswith(".")
    assert metric.exposed.endswith("_total") == (metric.kind == "counter")


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)  # fmt: skip
def test_what_takes_traces_alone_is_sent_no_metrics(env: dict[str, str], wanted: bool) -> None:
    assert exported(env) is wanted

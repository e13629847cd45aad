"""Metrics over OTLP, as a receiver gets them over real HTTP."""

import asyncio

import pytest

from shared.process.exporting import MetricsExporter
from shared.process.metrics import CounterMetric, DurationMetric, Metric, families
from tests.support.otlp import metrics_receiver

COUNTED = CounterMetric(name="moorage.test.sent", help="A test's.", labels={"to": "any"})
TOOK = DurationMetric(name="moorage.test.took", help="A test's.", labels={"to": "any"})


async def test_counters_gauges_and_histograms_arrive_under_their_names_with_what_sent_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    COUNTED.add("a", by=3)
    for seconds in (0.001, 0.02, 400.0):
        TOOK.took(seconds, "a")
    gauge = Metric(name="moorage.test.there", help="A test's.").number(lambda: 7)
    async with metrics_receiver() as (url, came):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url)
        exporter = MetricsExporter({"service.name": "moorage-test"})
        assert await asyncio.to_thread(exporter.send, families([gauge]))
        await asyncio.to_thread(exporter.close)
    (resource,) = came[0].resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "moorage-test"
    found = {each.name: each for each in resource.scope_metrics[0].metrics}
    assert found["moorage_test_there"].gauge.data_points[0].as_double == 7
    (counted,) = found["moorage_test_sent_total"].sum.data_points
    assert (counted.as_double, counted.attributes[0].value.string_value) == (3, "a")
    assert found["moorage_test_sent_total"].sum.is_monotonic
    (took,) = found["moorage_test_took_seconds"].histogram.data_points
    assert (took.count, took.sum) == (3, 400.021)
    assert sum(took.bucket_counts) == 3
    assert (took.bucket_counts[0], took.bucket_counts[-1]) == (1, 1)
    assert len(took.bucket_counts) == len(took.explicit_bounds) + 1
    assert not took.HasField("min")


async def test_what_is_declared_goes_by_its_name_and_unit_in_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.process.measured import PROCESSED

    PROCESSED.took(0.1, "test-stage", "ok")
    async with metrics_receiver() as (url, came):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url)
        exporter = MetricsExporter({})
        assert await asyncio.to_thread(exporter.send, families([]))
        await asyncio.to_thread(exporter.close)
    metrics = came[0].resource_metrics[0].scope_metrics[0].metrics
    assert [each.unit for each in metrics if each.name == "messaging.process.duration"] == ["s"]

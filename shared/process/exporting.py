"""Metrics over OTLP, by OpenTelemetry's exporter; loaded only where that is asked for."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family

from shared.process.measured import METRICS

_OURS: Final = {each.exposed: each for each in METRICS}
_UNKNOWN: Final[Any] = None  # the encoder leaves it out
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


class MetricsExporter:
    """Sends what one process counted since it began, to where the environment says."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self._exporter = OTLPMetricExporter()
        self._resource = Resource.create(about)
        self._since = time.time_ns()

    def send(self, families: Iterable[Family]) -> bool:
        """Send numbers, within the exporter's own timeout, which may take seconds; False where nobody took them."""
        data = MetricsData([self._of_resource([self._converted(each) for each in families])])
        return self._exporter.export(data) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """Have no more to send."""
        self._exporter.shutdown()

    def _of_resource(self, metrics: list[Metric]) -> ResourceMetrics:
        scope = ScopeMetrics(InstrumentationScope("moorage"), metrics, schema_url="")
        return ResourceMetrics(self._resource, [scope], schema_url="")

    def _converted(self, family: Family) -> Metric:
        now = time.time_ns()
        exposed = f"{family.name}_total" if family.type == "counter" else family.name
        ours = _OURS.get(exposed)
        name, unit = (ours.name, ours.unit) if ours is not None else (exposed, "")
        data: Sum | Gauge | Histogram
        if family.type == "histogram":
            data = Histogram(self._histograms(family, now), _CUMULATIVE)
        else:
            counted = family.type == "counter"
            points = [
                NumberDataPoint(dict(each.labels), self._since, now, float(each.value))
                for each in family.samples
                if not each.name.endswith("_created")
            ]
            data = Sum(points, _CUMULATIVE, is_monotonic=True) if counted else Gauge(points)
        return Metric(name, family.documentation, unit, data)

    def _histograms(self, family: Family, now: int) -> list[HistogramDataPoint]:
        """One for each combination of labels. What Prometheus adds up from bucket to bucket, OTLP has by itself."""
        upto: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        sums: dict[tuple[tuple[str, str], ...], float] = {}
        for each in family.samples:
            key = tuple((name, value) for name, value in each.labels.items() if name != "le")
            if each.name.endswith("_bucket"):
                upto.setdefault(key, []).append((float(each.labels["le"]), each.value))
            elif each.name.endswith("_sum"):
                sums[key] = each.value
        found = []
        for key, buckets in upto.items():
            counts = [number for _, number in buckets]
            alone = [int(number - before) for number, before in zip(counts, [0.0, *counts], strict=False)]
            bounds = [bound for bound, _ in buckets[:-1]]  # the last is open
            found.append(
                HistogramDataPoint(
                    dict(key), self._since, now, int(counts[-1]), sums[key], alone, bounds, min=_UNKNOWN, max=_UNKNOWN
                )
            )
        return found

"""What can be measured in a process, and the text that Prometheus reads of it.

A metric is declared once, by its name as OpenTelemetry writes names; `shared/process/measured.py` has all of them.
What is counted or timed lies in the process, for all that runs in it. A gauge is read when it is asked for.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES: Final = 1000
"""Combinations of labels that one metric has in a process; what comes after them is counted under `OTHER`."""
OTHER: Final = "other"

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)
disable_created_metrics()  # type: ignore[no-untyped-call]  # it takes nothing and returns nothing

_UNITS: Final = {"s": "seconds", "By": "bytes", "1": "ratio"}
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of a duration."""

Values = Mapping[tuple[str, ...], float]
"""Numbers by the values of a metric's labels, in their order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """A metric by its OpenTelemetry name. `labels`: what the values of each are.

    Those values are bounded, and ours: nothing that others write becomes one, but for workspaces where it says so.
    """

    name: str
    help: str
    shown_by: str = "all"
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["counter", "gauge", "histogram"] = "gauge"

    @property
    def exposed(self) -> str:
        """The name that Prometheus has for it, as OpenTelemetry says how to translate."""
        name, unit = re.sub(r"\W", "_", self.name), _UNITS.get(self.unit, "")
        if unit and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        return f"{name}_total" if self.kind == "counter" else name

    def read(self, by: Callable[[], Values]) -> "Reading":
        """How a gauge is read, where it is shown."""
        return Reading(self, by)

    def number(self, by: Callable[[], float]) -> "Reading":
        """The same, of one that is a single number."""
        return Reading(self, lambda: {(): by()})


class Reading(NamedTuple):
    """A gauge, or a counter that is kept elsewhere, and how it is read."""

    metric: Metric
    by: Callable[[], Values]

    def collect(self) -> Iterator[Family]:
        """Its numbers as they are now, for Prometheus' client."""
        made = CounterMetricFamily if self.metric.kind == "counter" else GaugeMetricFamily
        family = made(self.metric.exposed, self.metric.help, labels=tuple(self.metric.labels))
        for values, number in sorted(self.by().items()):
            family.add_metric(values, number)
        yield family


class _Instrument(Metric):
    """A metric whose numbers lie in the process, by the values of its labels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_of", {})
        object.__setattr__(self, "_all", self._made())

    _of: dict[tuple[str, ...], Any]
    _all: Any

    def _made(self) -> Any:
        raise NotImplementedError

    def _at(self, values: tuple[str, ...]) -> Any:
        found = self._of.get(values)
        if found is None:
            if len(self._of) >= MOST_SERIES:
                values = tuple(OTHER for _ in values)
            found = self._of[values] = self._all.labels(*values) if values else self._all
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class CounterMetric(_Instrument):
    """Counts what happens."""

    kind: Literal["counter", "gauge", "histogram"] = "counter"

    def _made(self) -> Counter:
        return Counter(self.exposed, self.help, tuple(self.labels), registry=REGISTRY)

    def add(self, *labels: str, by: float = 1) -> None:
        """So many more."""
        self._at(labels).inc(by)


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelMetric(_Instrument):
    """Goes up and down with what happens."""

    def _made(self) -> Gauge:
        return Gauge(self.exposed, self.help, tuple(self.labels), registry=REGISTRY)

    def change(self, by: float, *labels: str) -> None:
        """So many more, or fewer."""
        self._at(labels).inc(by)


@dataclass(frozen=True, kw_only=True, eq=False)
class DurationMetric(_Instrument):
    """How long something takes, as a histogram."""

    unit: str = "s"
    kind: Literal["counter", "gauge", "histogram"] = "histogram"

    def _made(self) -> Histogram:
        return Histogram(self.exposed, self.help, tuple(self.labels), registry=REGISTRY, buckets=_SECONDS)

    def took(self, seconds: float, *labels: str) -> None:
        """Once so long; what a clock that was set back says counts as no time."""
        self._at(labels).observe(max(seconds, 0.0))


def families(readings: Iterable[Reading]) -> list[Family]:
    """All that there is to show now."""
    return [*REGISTRY.collect(), *(family for each in readings for family in each.collect())]


class _Collected(NamedTuple):
    found: list[Family]

    def collect(self) -> Iterable[Family]:
        return self.found


def render(readings: Iterable[Reading]) -> str:
    """What the process counted, and these readings, in Prometheus' text format."""
    return generate_latest(_Collected(families(readings))).decode()


def exported(env: Mapping[str, str]) -> bool:
    """True if the environment asks for metrics over OTLP: what takes traces alone, as Jaeger does, is not bothered."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if env.get("OTEL_METRICS_EXPORTER", "otlp") != "otlp":
        return False
    both = "OTEL_METRICS_EXPORTER" in env and env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(env.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or both)

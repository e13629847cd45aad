"""What can be measured in a worker, and the text that Prometheus reads of it. A metric is read when it is asked for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """`read` gives one number, by the empty string, or one for each value of the label.

    Those values are bounded, and ours: nothing that others write becomes one.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], Mapping[str, float]]
    label: str = ""


def gauge(name: str, help: str, read: Callable[[], float]) -> Metric:
    """A metric that is one number, as it is now."""
    return Metric(name, "gauge", help, lambda: {"": read()})


def render(metrics: Iterable[Metric]) -> str:
    """Metrics in Prometheus' text format, each with all its values."""
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for value, number in sorted(metric.read().items()):
        labels = f'{{{metric.label}="{value}"}}' if metric.label else ""
        yield f"{metric.name}{labels} {number}"

"""Traces of one process.

The W3C `traceparent` header always travels on, so that one placement is one trace over all workers. Spans are made only
where OpenTelemetry's standard variables name an exporter (`OTEL_EXPORTER_OTLP_ENDPOINT` or the one for traces), and the
SDK is loaded only then: it costs some 20 MB and 0.2 s.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_trace: ContextVar[str] = ContextVar("moorage_trace", default="")
_about: ContextVar[str] = ContextVar("moorage_placement", default="")


def current_trace() -> str:
    """The id of the trace that is under way here (32 hexadecimal digits), or empty."""
    return _trace.get()


def current_placement() -> str:
    """The placement that is worked on here, or empty."""
    return _about.get()


class Telemetry:
    """Makes spans for one worker and continues traces through message headers."""

    def __init__(self, service: str, env: Mapping[str, str]) -> None:
        self._tracer: Any = None
        self._provider: Any = None
        if wanted(env):
            self._start(service)

    def _start(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"moorage-{service}", "service.namespace": "moorage"}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("moorage")

    @contextmanager
    def span(
        self,
        name: str,
        *,
        headers: Mapping[str, str],
        about: str,
        kind: Literal["consumer", "producer"],
        attributes: Mapping[str, str | int] | None = None,
    ) -> Iterator[dict[str, str]]:
        """A span that continues the trace in `headers` (or begins one); yields the headers to send on."""
        with self._headers(name, headers, kind, {"moorage.placement": about, **(attributes or {})}) as onward:
            traced = _trace.set(onward[TRACEPARENT][3:35])
            placed = _about.set(about)
            try:
                yield onward
            finally:
                _trace.reset(traced)
                _about.reset(placed)

    @contextmanager
    def _headers(
        self, name: str, headers: Mapping[str, str], kind: str, attributes: Mapping[str, str | int]
    ) -> Iterator[dict[str, str]]:
        if self._tracer is None:
            state = {TRACESTATE: headers[TRACESTATE]} if TRACESTATE in headers else {}
            yield {TRACEPARENT: headers.get(TRACEPARENT) or _new_traceparent(), **state}
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()
        with self._tracer.start_as_current_span(
            name,
            context=propagator.extract(headers),
            kind=SpanKind.CONSUMER if kind == "consumer" else SpanKind.PRODUCER,
            attributes=attributes,
        ):
            onward: dict[str, str] = {}
            propagator.inject(onward)
            yield onward

    def close(self) -> None:
        """Send what is left, within the exporter's own timeout."""
        if self._provider is not None:
            self._provider.shutdown()


def wanted(env: Mapping[str, str]) -> bool:
    """True if the environment asks for spans."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return bool(env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _new_traceparent() -> str:
    """A fresh trace that nobody samples: it ties log lines together."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"

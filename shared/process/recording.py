"""Spans as they are recorded and exported; loaded only where spans are wanted.

Which traces are sampled, how spans are put together to be sent, and how they are sent is OpenTelemetry's SDK's, by its
variables. A span itself is ours, since the SDK's takes several times as much (ADR 34).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from shared.process.encoding import request
from shared.process.recorded import AttributeValue, RecordedSpan, place

_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Recorder:
    """Records spans of one process, and exports them as the environment says."""

    def __init__(self, about: Mapping[str, str]) -> None:
        provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._sampler, resource = provider.sampler, dict(provider.resource.attributes)
        self._processor = BatchSpanProcessor(_Exporter(resource))

    def begin(
        self,
        name: str,
        headers: Mapping[str, str],
        kind: str,
        attributes: Mapping[str, AttributeValue],
        identity: str,
        links: Sequence[str],
        since: float,
        *,
        decided: bool,
    ) -> tuple[dict[str, str], RecordedSpan | None]:
        """A span, see `Telemetry.span`, and the headers that continue the trace from it; None where it is not sampled.
        `decided`: a parent decides for all that follows from it, so that the sampler is asked for roots alone.
        """
        trace, own, above, flags, state = place(headers, identity)
        said: dict[str, AttributeValue] = dict(attributes)
        sampled = int(flags, 16) & 1 == 1
        if not (above and decided):
            sampled, more = self._sampled(trace, above, flags, name, kind, said)
            said |= more
        onward = {"traceparent": f"00-{trace}-{own}-0{int(sampled)}"}
        if state:
            onward["tracestate"] = state
        if not sampled:
            return onward, None
        follows = [(each[3:35], each[36:52]) for each in links]
        start = int(since * 1e9) if since else time.time_ns()
        return onward, RecordedSpan(name, kind, trace, own, above, state, start, said, follows)

    def end(self, span: RecordedSpan) -> None:
        """It is over: send it with others, soon."""
        span.end = time.time_ns()
        self._processor.on_end(_Ended(span))  # type: ignore[arg-type]  # it is handed on, and asked for nothing else

    def _sampled(
        self, trace: str, above: str, flags: str, name: str, kind: str, attributes: Mapping[str, AttributeValue]
    ) -> tuple[bool, dict[str, Any]]:
        """What the sampler says, and what it wants said."""
        context = None
        if above:
            parent = SpanContext(int(trace, 16), int(above, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
            context = set_span_in_context(NonRecordingSpan(parent))
        result = self._sampler.should_sample(context, int(trace, 16), name, SpanKind[kind.upper()], attributes)
        return result.decision is Decision.RECORD_AND_SAMPLE, dict(result.attributes or {})

    def close(self) -> None:
        """Send what is left, within the exporter's own timeout."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # as the SDK has it


class _Ended:
    """A span as the processor takes it, which asks whether it was sampled."""

    __slots__ = ("span",)
    context = _SAMPLED

    def __init__(self, span: RecordedSpan) -> None:
        self.span = span


class _Exporter(OTLPSpanExporter):
    """Sends our spans as OpenTelemetry's exporter sends its own."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        self._about = about

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Send them, within the exporter's own timeout."""
        sent = self._client.export(request([each.span for each in spans], self._about))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE

"""Spans as OTLP has them; loaded only where spans are wanted.

What a span says is encoded attribute by attribute, each by itself, and joined: encoded messages of protobuf, one behind
the other, are one message that has the fields of both (https://protobuf.dev/programming-guides/encoding, "Last One
Wins"). Most attributes are the same from span to span, and so are encoded once (ADR 34).
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status

from shared.process.recorded import AttributeValue, RecordedSpan

KINDS = {
    "internal": Span.SPAN_KIND_INTERNAL,
    "server": Span.SPAN_KIND_SERVER,
    "producer": Span.SPAN_KIND_PRODUCER,
    "consumer": Span.SPAN_KIND_CONSUMER,
}
_KNOWN: Final[int] = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE: Final[int] = _KNOWN | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
"""Whether the parent is of another process is known, and so it is."""

REMEMBERED = 4096
"""Encoded attributes; about 1 MB."""


def request(spans: Iterable[RecordedSpan], about: Mapping[str, AttributeValue]) -> bytes:
    """The request that exports spans of a process that is `about`."""
    scope = ScopeSpans(
        scope=InstrumentationScope(name="moorage"), spans=[Span.FromString(span(each)) for each in spans]
    )
    resource = Resource(attributes=[_key_value(key, value) for key, value in about.items()])
    whole: bytes = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]
    ).SerializeToString()
    return whole


def span(found: RecordedSpan) -> bytes:
    """One span, encoded."""
    head = Span(
        trace_id=bytes.fromhex(found.trace),
        span_id=bytes.fromhex(found.id),
        parent_span_id=bytes.fromhex(found.parent),
        trace_state=found.state,
        name=found.name,
        kind=KINDS[found.kind],
        start_time_unix_nano=found.start,
        end_time_unix_nano=found.end,
        flags=_REMOTE if found.parent else _KNOWN,
    )
    for trace, follows in found.links:
        head.links.add(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(follows), flags=_REMOTE)
    if found.error is not None:
        head.status.code, head.status.message = Status.STATUS_CODE_ERROR, found.error
    for event in found.events:
        head.events.add(
            name=event.name,
            time_unix_nano=event.at,
            attributes=[_key_value(key, value) for key, value in event.attributes.items()],
        )
    parts = [head.SerializeToString()]
    parts += [
        _attribute(key, value) if type(value) in _SHARED else _encoded(key, value)
        for key, value in found.attributes.items()
    ]
    return b"".join(parts)


_SHARED = frozenset({str, int, bool, tuple})
"""Types of values that may be the same from span to span, and can be remembered."""


@functools.lru_cache(maxsize=REMEMBERED, typed=True)
def _attribute(key: str, value: str | int | tuple[str, ...]) -> bytes:
    return _encoded(key, value)


def _encoded(key: str, value: AttributeValue) -> bytes:
    """A span that has nothing but one attribute."""
    alone: bytes = Span(attributes=[_key_value(key, value)]).SerializeToString()
    return alone


def _key_value(key: str, value: AttributeValue) -> KeyValue:
    return KeyValue(key=key, value=_any(value))


def _any(value: AttributeValue) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=list(map(_any, value))))

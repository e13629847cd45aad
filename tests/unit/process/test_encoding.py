"""Spans as they go over the wire: what OpenTelemetry's own messages read of them, and what its own encoder makes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from shared.process.encoding import request
from shared.process.recorded import RecordedSpan

ABOUT = {"service.name": "moorage-test", "n": 1}
TRACE, SPAN, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
values = st.one_of(
    st.text(max_size=20),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
attributes = st.dictionaries(st.text(min_size=1, max_size=10), values, max_size=6)


def recorded(said: dict[str, Any], **more: Any) -> RecordedSpan:
    fields = {"name": "process evaluated", "kind": "consumer", "parent": ABOVE, "state": "", **more}
    return RecordedSpan(trace=TRACE, id=SPAN, start=1_000, end=2_000, attributes=said, **fields)


def context(span: str, state: str = "", *, remote: bool) -> SpanContext:
    states = TraceState.from_header([state]) if state else None
    return SpanContext(int(TRACE, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED), states)


def theirs(span: RecordedSpan) -> ExportTraceServiceRequest:
    """The same span, as OpenTelemetry's SDK has it and encodes it."""
    status = Status() if span.error is None else Status(StatusCode.ERROR, span.error)
    readable = ReadableSpan(
        name=span.name,
        context=context(span.id, span.state, remote=False),
        parent=context(span.parent, remote=True) if span.parent else None,
        resource=Resource(dict(ABOUT)),
        attributes=span.attributes,
        links=[Link(context(follows, remote=True)) for _, follows in span.links],
        kind=SpanKind[span.kind.upper()],
        status=status,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope("moorage"),
    )
    found = encode_spans([readable])
    if span.error is None:  # they send an empty one, which says the same
        found.resource_spans[0].scope_spans[0].spans[0].ClearField("status")
    return found


def ours(*spans: RecordedSpan) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(request(spans, ABOUT))


@given(attributes)
def test_what_a_span_says_is_encoded_as_by_opentelemetry_itself(said: dict[str, Any]) -> None:
    assert ours(recorded(said)) == theirs(recorded(said))


def test_a_root_a_failure_links_and_a_tracestate_are_encoded_as_by_opentelemetry_itself() -> None:
    for more in (
        {"parent": "", "kind": "internal"},
        {"error": "no such target", "kind": "producer"},
        {"links": [(TRACE, ABOVE)], "kind": "server"},
        {"state": "vendor=1"},
    ):
        assert ours(recorded({"a": "b"}, **more)) == theirs(recorded({"a": "b"}, **more)), more


def test_values_that_are_equal_and_of_other_types_stay_apart() -> None:
    spans = [recorded({"k": value}) for value in (1, True, 1.0, "1", ("1",))]
    found = [
        each.attributes[0].value.WhichOneof("value") for each in ours(*spans).resource_spans[0].scope_spans[0].spans
    ]
    assert found == ["int_value", "bool_value", "double_value", "string_value", "array_value"]


def test_a_bug_is_told_with_its_stack_and_what_was_meant_without() -> None:
    meant, bug = recorded({}), recorded({})
    error = ValueError("x" * 1000)
    meant.fail(error, unexpected=False)
    bug.fail(error, unexpected=True)
    for each in ours(meant, bug).resource_spans[0].scope_spans[0].spans:
        assert each.status.message == "x" * 500
        assert [(one.key, one.value.string_value) for one in each.attributes] == [("error.type", "ValueError")]
    first, second = ours(meant, bug).resource_spans[0].scope_spans[0].spans
    assert len(first.events) == 0
    (event,) = second.events
    told = {each.key: each.value.string_value for each in event.attributes}
    assert (event.name, told["exception.type"]) == ("exception", "builtins.ValueError")
    assert told["exception.stacktrace"].startswith("ValueError")

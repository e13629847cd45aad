"""An OTLP/HTTP receiver: what an exporter sends to `url`, as plain spans.

Reference: OpenTelemetry Protocol 1.x, OTLP/HTTP with binary protobuf, `POST /v1/traces`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

KINDS = {
    trace_pb2.Span.SPAN_KIND_INTERNAL: "internal",
    trace_pb2.Span.SPAN_KIND_PRODUCER: "producer",
    trace_pb2.Span.SPAN_KIND_CONSUMER: "consumer",
}
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class Span:
    """One finished span; ids in hexadecimal, `parent` empty for the root of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: str
    state: str
    attributes: dict[str, Any]
    failed: bool
    links: tuple[str, ...] = ()
    """The ids of the spans that it follows from, in whatever trace."""


class Receiver:
    """The spans that have arrived, in order of arrival."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self._arrived = asyncio.Condition()

    async def until(self, condition: Callable[[list[Span]], Any], within: float = 15.0) -> list[Span]:
        """Wait until what has arrived fulfils a condition; returns the spans."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(lambda: condition(self.spans))
        return self.spans

    def trace(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace == trace]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which carries one request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0].partition(":")[2]))
            assert head.startswith("POST /v1/traces "), head
            async with self._arrived:
                self.spans += decode(body)
                self._arrived.notify_all()
            writer.write(OK)
            await writer.drain()
        writer.close()


def decode(body: bytes) -> list[Span]:
    """The spans of an ExportTraceServiceRequest."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(_attributes(resource.resource.attributes).get("service.name", ""), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=KINDS.get(span.kind, "other"),
        state=span.trace_state,
        attributes=_attributes(span.attributes),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        links=tuple(each.span_id.hex() for each in span.links),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    found = getattr(value, value.WhichOneof("value"))
    return [_value(each) for each in found.values] if value.WhichOneof("value") == "array_value" else found


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback; its `url` is what OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
    found = Receiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    async with server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield found


@asynccontextmanager
async def metrics_receiver() -> AsyncIterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    """Where metrics can be sent to, and what has come."""
    came: list[ExportMetricsServiceRequest] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
            came.append(ExportMetricsServiceRequest.FromString(await reader.readexactly(int(length.split(":")[1]))))
            writer.write(OK)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/metrics", came

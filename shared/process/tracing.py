"""Traces of one process.

The W3C `traceparent` header always travels on, so that one placement is one trace over all workers. Spans are made only
where OpenTelemetry's standard variables name an exporter (`OTEL_EXPORTER_OTLP_ENDPOINT` or the one for traces), and the
SDK is loaded only then: it costs some 20 MB and 0.2 s. Or they are kept in files, where a setting names a folder.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from shared.process.recorded import AttributeValue, RecordedSpan

log = logging.getLogger("moorage.tracing")

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_Kind = Literal["internal", "consumer", "producer", "server"]
Attributes = Mapping[str, AttributeValue]
"""What a span says. Sequences are of strings."""

_onward: ContextVar[Mapping[str, str]] = ContextVar("moorage_onward", default={})  # noqa: B039 - nobody writes to it
_about: ContextVar[str] = ContextVar("moorage_placement", default="")


def onward() -> Mapping[str, str]:
    """The headers by which what is sent here continues the trace that is under way; none outside of any."""
    return _onward.get()


def current_trace() -> str:
    """The id of the trace that is under way here (32 hexadecimal digits), or empty."""
    return trace_id(onward().get(TRACEPARENT, ""))


def current_placement() -> str:
    """The placement that is worked on here, or empty."""
    return _about.get()


def trace_id(traceparent: str) -> str:
    """The id of the trace that a `traceparent` names, or empty."""
    return traceparent[3:35]


def traceparent_of(fact: str) -> str:
    """The identity of a trace that begins with a fact, not sampled: the same in whichever process tells it. So whoever
    knows the fact before can link to its trace, and nobody has to keep that.
    """
    digest = hashlib.sha256(fact.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-00"


class SpanNotes:
    """What can be told of a span while it lasts. `headers` continue the trace from it."""

    def __init__(self, headers: Mapping[str, str], span: RecordedSpan | None = None) -> None:
        self.headers = headers
        self._span = span

    @property
    def wanted(self) -> bool:
        """Whether anybody will read it."""
        return self._span is not None

    def tell(self, attributes: Attributes) -> None:
        """Add to what it says."""
        if self._span is not None:
            self._span.attributes.update(attributes)

    def fail(self, error: BaseException, *, unexpected: bool) -> None:
        """Mark it as failed; with its stack where the error was `unexpected`."""
        if self._span is not None:
            self._span.fail(error, unexpected=unexpected)


class Telemetry:
    """Makes spans for one worker and continues traces through message headers.

    They are sent as the environment says; where it says nothing, they are kept in the `folder`, if there is one.
    """

    def __init__(self, service: str, env: Mapping[str, str], folder: str = "") -> None:
        self._recorder: Any = None
        self._parent_decides = env.get("OTEL_TRACES_SAMPLER", "parentbased").startswith("parentbased")
        if wanted(env):
            from shared.process.recording import Recorder

            self._recorder = Recorder(resource(service, env))
        elif folder:
            from shared.process.keeping import SpanKeeper

            try:
                self._recorder = SpanKeeper(service, Path(folder))
            except OSError as error:
                log.warning("no spans are kept", extra={"folder": folder, "error": str(error)})

    def records(self, headers: Mapping[str, str]) -> bool:
        """Whether a span that continues the trace in `headers` may be recorded: else nothing need be said of it."""
        return self._recorder is not None and not (self._parent_decides and _unsampled(headers))

    @contextmanager
    def span(
        self,
        name: str,
        *,
        headers: Mapping[str, str],
        about: str,
        kind: _Kind,
        attributes: Attributes | None = None,
        identity: str = "",
        links: Sequence[str] = (),
        since: float = 0.0,
    ) -> Iterator[SpanNotes]:
        """A span that continues the trace in `headers`, or begins one. What ends it by an exception has to say itself
        whether that is a failure.

        `identity`: the trace and span that it is if it begins one, and `links` are others that it follows from; both as
        a `traceparent`. `since`: when it began, if that is not now (seconds since the epoch).
        """
        recorded = None
        if self.records(headers):
            continued, recorded = self._recorder.begin(
                name, headers, kind, attributes or {}, identity, links, since, decided=self._parent_decides
            )
            notes = SpanNotes(continued, recorded)
        else:
            state = {TRACESTATE: headers[TRACESTATE]} if TRACESTATE in headers else {}
            notes = SpanNotes({TRACEPARENT: headers.get(TRACEPARENT) or identity or _new_traceparent(), **state})
        # What is sent and logged within belongs to the trace.
        traced, placed = _onward.set(notes.headers), _about.set(about)
        try:
            yield notes
        finally:
            _onward.reset(traced)
            _about.reset(placed)
            if recorded is not None:
                self._recorder.end(recorded)

    def close(self) -> None:
        """Send what is left, within the exporter's own timeout."""
        if self._recorder is not None:
            self._recorder.close()


def _unsampled(headers: Mapping[str, str]) -> bool:
    """Whether who sent these recorded nothing: the lowest bit of the flags says so, the last of four parts."""
    traceparent = headers.get(TRACEPARENT, "")
    return len(traceparent) == 55 and traceparent[-3:] in ("-00", "-02")


def resource(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What this process is, in OpenTelemetry's words."""
    host = env.get("HOSTNAME") or socket.gethostname()
    about = {
        "service.name": f"moorage-{service}",
        "service.namespace": "moorage",
        "service.version": metadata.version("moorage"),
        "service.instance.id": f"{host}-{os.getpid()}",
    }
    return {**about, "k8s.pod.name": host} if "KUBERNETES_SERVICE_HOST" in env else about


def wanted(env: Mapping[str, str]) -> bool:
    """True if the environment asks for spans."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return bool(env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _new_traceparent() -> str:
    """A fresh trace that nobody samples: it ties log lines together."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"

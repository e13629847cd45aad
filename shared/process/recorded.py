"""A span while it lasts, and once it has ended."""

import os
import re
import time
import traceback
from collections.abc import Mapping, Sequence

import msgspec

AttributeValue = str | int | float | Sequence[str]

_CONTINUED = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
"""A `traceparent` that is well formed, with its trace, its span and its flags (https://www.w3.org/TR/trace-context)."""

_MOST_WORDS = 500
"""Characters of what a span says of an error."""


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened within a span; `at` in nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Mapping[str, AttributeValue]


class RecordedSpan(msgspec.Struct):
    """A span. Ids are in hexadecimal, `parent` is empty for the root of a trace; times in nanoseconds since the epoch.

    `links` are traces and spans that it follows from. `error` is what is said of a failure, None where there is none.
    """

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    start: int
    attributes: dict[str, AttributeValue]
    links: Sequence[tuple[str, str]] = ()
    end: int = 0
    error: str | None = None
    events: tuple[SpanEvent, ...] = ()

    def fail(self, error: BaseException, *, unexpected: bool) -> None:
        """Mark it as failed; with its stack where the error was `unexpected`."""
        self.attributes["error.type"] = type(error).__name__
        self.error = str(error)[:_MOST_WORDS]
        if unexpected:
            told = {
                "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
                "exception.message": str(error),
                "exception.stacktrace": "".join(traceback.format_exception(error)),
            }
            self.events = (*self.events, SpanEvent("exception", time.time_ns(), told))


def place(headers: Mapping[str, str], identity: str) -> tuple[str, str, str, str, str]:
    """Where a new span is: its trace, its id, its parent (empty for a root), the flags and the state of its trace.

    It continues the trace that the headers name. Where they name none it is the root of one, of this `identity` (a
    `traceparent`) if that is not empty.
    """
    parent = _CONTINUED.fullmatch(headers.get("traceparent", "").strip())
    if parent:
        trace, above, flags = parent.groups()
        return trace, os.urandom(8).hex(), above, flags, headers.get("tracestate", "")
    trace, own = identity.split("-")[1:3] if identity else (os.urandom(16).hex(), os.urandom(8).hex())
    return trace, own, "", "00", ""

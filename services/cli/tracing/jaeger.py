"""The spans of a trace, as Jaeger's query API has them."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.tracing.waterfall import FoundSpan

ANSWER_WITHIN = 10.0  # seconds
MOST_BYTES = 64 << 20
"""Of an answer: a trace with a hundred thousand spans."""


def spans(url: str, trace: str) -> list[FoundSpan]:
    """All spans of a trace.

    Raises CommandError where Jaeger does not answer, or does not know it, and UsageError for an address that is none.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--jaeger {url}: an address begins with http:// or https://")
    try:
        found = _data(f"{url.rstrip('/')}/api/traces/{urllib.parse.quote(trace, safe='')}")
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                raise CommandError(f"Jaeger does not know the trace {trace}, not yet or not any more") from None
            raise CommandError(f"Jaeger answers {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise CommandError(f"Jaeger does not answer at {url}: {why}; give its address as --jaeger") from None
    try:
        return [span for each in found for span in _spans(each)]
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"the answer cannot be read: {error!r}") from None


def _data(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url, timeout=ANSWER_WITHIN) as answer:  # noqa: S310 - the scheme is checked
        body = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise CommandError(f"the trace has more than {MOST_BYTES >> 20} MiB")
    try:
        return json.loads(body).get("data") or []
    except (ValueError, AttributeError):
        raise CommandError("what answers there is no Jaeger: no JSON came") from None


def _spans(trace: dict[str, Any]) -> list[FoundSpan]:
    services = {name: str(each["serviceName"]) for name, each in trace["processes"].items()}
    return [_span(each, services) for each in trace["spans"]]


def _span(span: dict[str, Any], services: dict[str, str]) -> FoundSpan:
    attributes = {str(tag["key"]): str(tag["value"]) for tag in span.get("tags") or ()}
    parents = [
        str(each["spanID"])
        for each in span.get("references") or ()
        if each["refType"] == "CHILD_OF" and each["traceID"] == span["traceID"]
    ]
    return FoundSpan(
        id=str(span["spanID"]),
        parent=parents[0] if parents else "",
        service=services[span["processID"]],
        operation=str(span["operationName"]),
        start=span["startTime"] / 1e6,
        seconds=span["duration"] / 1e6,
        error=attributes.get("error", "").lower() == "true" or attributes.get("otel.status_code") == "ERROR",
        attributes=attributes,
    )

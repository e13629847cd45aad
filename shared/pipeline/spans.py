"""What the spans of the pipeline say. Only what messages state is told: what they do not hold, no trace holds.

Names are OpenTelemetry's for messaging (semantic conventions 1.37), and `moorage.` for what is ours.
docs/tracing.md lists them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from shared.broker.bus import ID_HEADER, Delivery, GivenUp, Reject, Retry, is_outage
from shared.model.decision import Choice, Refusal
from shared.model.refs import Head
from shared.model.request import Cause
from shared.pipeline.messages import Decided, Discovered, Displayed, Evaluated, Message, Observed, Requested, Scheduled
from shared.process.tracing import TRACEPARENT, TRACESTATE, Attributes, SpanNotes, Telemetry, traceparent_of

ROOT = "reconcile placement"
FOLLOWED = 3600.0
"""Seconds for which the trace of a round goes on with what becomes of it; after that, each observation begins one."""
_MOST_NAMED = 10  # targets
_MOST_WORDS = 500  # characters of a sentence


def trace_of(head: Head) -> str:
    """The trace, and the span that it begins with, of the round that a head stands for; as a `traceparent`."""
    return traceparent_of(f"{head.uid}:{head.attempt}")


@contextmanager
def sending(telemetry: Telemetry, message: Message, asked_at: float = 0.0) -> Iterator[Mapping[str, str]]:
    """A message of a source or timer is sent: by itself, or as part of the trace that it `continues`; what asks for a
    round begins the trace of that, linked to that of the round before. The trace of a round that was asked for long ago
    (`asked_at`, seconds since the epoch) is linked to, and not continued: what flaps for weeks makes many traces, and
    none without end. Yields the headers to send it with.
    """
    about = str(message.about)
    name, earlier = f"send {message.stage}", message.continues
    if not isinstance(message, Requested):
        ended = bool(asked_at) and time.time() - asked_at > FOLLOWED
        links, headers = ([earlier], {}) if earlier and ended else ([], {TRACEPARENT: earlier} if earlier else {})
        known = sent(message) if telemetry.records(headers) else None
        with telemetry.span(name, headers=headers, about=about, kind="producer", attributes=known, links=links) as span:
            yield span.headers
        return
    head, since = message.at, message.request.requested_at
    before = [trace_of(Head(uid=head.uid, generation=0, attempt=head.attempt - 1))] if head.attempt > 1 else []
    facts = of(message) if telemetry.records({}) else None
    with telemetry.span(
        ROOT,
        headers={},
        about=about,
        kind="internal",
        attributes=facts,
        identity=trace_of(head),
        links=before,
        since=since,
    ) as root:
        known = sent(message) if root.wanted else None  # what nobody samples need not be told
        with telemetry.span(name, headers=root.headers, about=about, kind="producer", attributes=known) as span:
            yield span.headers


def sent(message: Message) -> Attributes:
    """What is known of a message that is sent."""
    return {
        **of(message),
        "messaging.system": "nats",
        "messaging.operation.name": "send",
        "messaging.destination.name": message.subject(),
        "messaging.message.id": message.id(),
    }


def processing(group: str, delivery: Delivery, message: Message) -> Attributes:
    """What is known of a message that comes to be handled by a consumer group."""
    waited: dict[str, int | float] = {}
    if delivery.stored_at:
        waited["moorage.queue.seconds"] = round(max(time.time() - delivery.stored_at, 0.0), 6)
    if delivery.pending:
        waited["moorage.queue.pending"] = delivery.pending
    if delivery.attempt > 1:
        waited["moorage.delivery"] = delivery.attempt
    return {
        **of(message),
        **waited,
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.destination.name": delivery.subject,
        "messaging.consumer.group.name": group,
        "messaging.message.id": delivery.headers.get(ID_HEADER, message.id()),
    }


def ending(error: BaseException) -> tuple[str, str]:
    """The outcome of a handler that raised this, and, where its message is to come again, why; both empty where it was
    interrupted.

    That something has to be tried again is no failure: that is how one waits.
    """
    if isinstance(error, Retry):
        return "retry", "waits"
    if isinstance(error, Reject):
        return "dead", ""
    if isinstance(error, Exception):
        return ("retry", "bus") if is_outage(error) else ("failed", "failed")
    return "", ""


class outcome(AbstractContextManager[None]):  # noqa: N801 - as what it is used like
    """Says how the handling of a message ends."""

    def __init__(self, span: SpanNotes) -> None:
        self._span = span

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception):
            return
        word, _ = ending(error)
        self._span.tell({"moorage.outcome": word})
        if word == "retry":
            self._span.tell({"moorage.retry.reason": str(error)})
            if isinstance(error, Retry):
                self._span.tell({"moorage.retry.seconds": error.delay})
        else:
            self._span.fail(error, unexpected=word == "failed")


@contextmanager
def parking(telemetry: Telemetry, delivery: Delivery, why: GivenUp, cause: str) -> Iterator[None]:
    """A message is given up, and put among the dead letters."""
    headers = {key: value for key, value in delivery.headers.items() if key.lower() in (TRACEPARENT, TRACESTATE)}
    attributes: Attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "park",
        "messaging.destination.name": delivery.subject,
        "moorage.given_up": why,
    }
    with telemetry.span("park message", headers=headers, about="", kind="producer", attributes=attributes) as span:
        span.fail(Reject(cause), unexpected=False)
        yield


@contextmanager
def serving(telemetry: Telemetry, name: str, headers: Mapping[str, str], about: str = "") -> Iterator[None]:
    """A question is answered."""
    with telemetry.span(name, headers=headers, about=about, kind="server") as span, outcome(span):
        yield


@contextmanager
def taking(telemetry: Telemetry, name: str, delivery: Delivery) -> Iterator[None]:
    """What others publish is handled. Of their headers only those of a trace are looked at."""
    attributes: Attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.destination.name": delivery.subject,
        "moorage.delivery": delivery.attempt,
    }
    headers = {key: value for key, value in delivery.headers.items() if key.lower() in (TRACEPARENT, TRACESTATE)}
    with telemetry.span(name, headers=headers, about="", kind="consumer", attributes=attributes) as span, outcome(span):
        yield


def of(message: Message) -> Attributes:
    """Whom a message is about, each part by itself, since a search compares whole values; and why it is on its way."""
    ref, head = message.about, message.at
    found: dict[str, Any] = {
        "moorage.workspace": ref.workspace,
        "moorage.namespace": ref.namespace,
        "moorage.name": ref.name,
        "moorage.generation": head.generation,
        "moorage.attempt": head.attempt,
    }
    target: str = getattr(message, "target", "")
    if target:
        found["moorage.target"] = target
    if isinstance(message, Observed):
        found["moorage.health"] = next((each.health for each in message.objects if each.health != "Healthy"), "Healthy")
    request = getattr(message, "request", None)
    cause: Cause | None = request.cause if request is not None else getattr(message, "cause", None)
    if cause is not None:
        found["moorage.cause"] = cause.code
        if cause.detail:
            found["moorage.cause.detail"] = cause.detail
    return found


def result(emitted: Iterable[Message]) -> Attributes:
    """What came of a message that was handled, as far as what is emitted says so."""
    found: dict[str, Any] = {"moorage.outcome": "ok"}
    for message in emitted:
        match message:
            case Discovered() | Evaluated():
                rejected = sum(each.count for each in message.rejections)
                found |= {
                    "moorage.targets.considered": len(message.targets) + rejected,
                    "moorage.targets.feasible": len(message.targets),
                }
            case Scheduled():
                proposal = message.proposal
                rejected = sum(each.count for each in message.rejections)
                found |= _decision(proposal.selected, proposal.refusal)
                found |= {
                    "moorage.strategy": proposal.strategy,
                    "moorage.targets.considered": proposal.feasible + rejected,
                    "moorage.targets.feasible": proposal.feasible,
                }
            case Decided():
                found |= _decision(message.selected, message.refusal, contended=message.contended)
                found["moorage.targets.considered"] = message.considered
            case Displayed():
                found["moorage.phase"] = message.phase
            case _:
                phase: str = getattr(message, "phase", "")
                if phase:
                    found["moorage.phase"] = phase
    return found


def decided_as(refusal: Refusal | None, *, contended: bool = False) -> str:
    """What was decided, in a word."""
    if refusal is None:
        return "placed"
    return "contended" if contended else "refused"


def _decision(selected: Iterable[Choice], refusal: Refusal | None, *, contended: bool = False) -> dict[str, Any]:
    word = decided_as(refusal, contended=contended)
    if refusal is not None:
        return {
            "moorage.decision": word,
            "moorage.reason": refusal.code,
            "moorage.rationale": refusal.message[:_MOST_WORDS],
        }
    targets = [each.target for each in selected]
    return {
        "moorage.decision": word,
        "moorage.targets.selected": len(targets),
        "moorage.targets.names": targets[:_MOST_NAMED],
    }

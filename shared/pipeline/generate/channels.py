"""What tenants send to Moorage and receive from it: of this table the AsyncAPI document and the schemas are made."""

from typing import Final

import msgspec

from shared.api import Placement
from shared.model.answer import DecisionAnswer
from shared.model.asking import (
    AcceptedData,
    DecideRequest,
    PlaceRequest,
    RejectedData,
    WithdrawRequest,
    request_type,
)
from shared.model.events import EVENTS, type_of
from shared.model.words import Verb
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT
from shared.pipeline.generate.asyncapi import Channel
from shared.pipeline.generate.schemas import Exchanged, Schema, manifest_schema, meaning
from shared.pipeline.requests import REPLY_TO, REQUESTS_SUBJECT
from shared.pipeline.requests import STREAM as REQUESTS_STREAM

_TOLD: Final[dict[str, Schema]] = {
    "sequence": {"type": "string", "description": "The attempt: of two events about one placement, which is newer."},
    "traceparent": {"type": "string", "description": "The trace that it is part of (W3C Trace Context)."},
    "tracestate": {"type": "string", "description": "What tracing systems add to it."},
}

_ASKED: Final[dict[str, Schema]] = {
    REPLY_TO: {"type": "string", "pattern": "^_INBOX[.]", "description": "The inbox that waits for the answer."},
    "traceparent": _TOLD["traceparent"],
    "tracestate": _TOLD["tracestate"],
}
_PLACEMENT: Final[dict[str, Schema]] = {"placement": manifest_schema(Placement)}

_EVENTS = tuple(
    Exchanged(type=type_of(each.kind), data=each, always=("subject", "sequence"), extensions=_TOLD) for each in EVENTS
)
_ANSWERED: Final[tuple[type[AcceptedData | RejectedData], ...]] = (AcceptedData, RejectedData)
_ANSWERS = tuple(Exchanged(type=type_of(each.kind), data=each, extensions=_TOLD) for each in _ANSWERED)


def _stored(verb: Verb, data: type[msgspec.Struct], given: dict[str, Schema]) -> Channel:
    """Requests that are stored until they are carried out."""
    return Channel(
        name=verb,
        address=f"{REQUESTS_SUBJECT}.{{workspace}}.{{user}}.{verb}",
        meaning=meaning(data),
        action="receive",
        messages=(Exchanged(type=request_type(verb), data=data, extensions=_ASKED, given=given),),
        answers=_ANSWERS,
        answered_at=f"$message.payload#/{REPLY_TO}",
        stream=REQUESTS_STREAM.name,
    )


CHANNELS: Final = (
    _stored("place", PlaceRequest, _PLACEMENT),
    _stored("withdraw", WithdrawRequest, {}),
    Channel(
        name="decide",
        address=f"{REQUESTS_SUBJECT}.{{workspace}}.{{user}}.decide",
        meaning=meaning(DecideRequest),
        action="receive",
        messages=(Exchanged(type=request_type("decide"), data=DecideRequest, extensions=_ASKED, given=_PLACEMENT),),
        answers=(Exchanged(type=type_of("answered"), data=DecisionAnswer, extensions=_TOLD), _ANSWERS[1]),
    ),
    Channel(
        name="events",
        address=f"{EVENTS_SUBJECT}.{{workspace}}.{{namespace}}.{{placement}}.{{type}}",
        meaning="What becomes of a placement: one event per fact, with the same id if it is told again.",
        action="send",
        messages=(*_EVENTS, *_ANSWERS),
        choices={"type": tuple(each.kind for each in (*EVENTS, *_ANSWERED))},
        stream=EVENTS_STREAM,
    ),
)

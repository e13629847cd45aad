"""Events of placements, derived from the messages that flow anyway: which facts does a message state?

An event goes to `moorage.events.<workspace>.<namespace>.<placement>.<kind>`, as a structured CloudEvent. Its id derives
from the fact, so that the fact told twice is the same event, whoever tells it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from shared.cloudevents import CloudEvent, structured
from shared.kube.times import rfc3339
from shared.model.decision import Choice
from shared.model.events import (
    MOST_TARGETS,
    BoundData,
    DecidedData,
    DecidedTarget,
    DegradedData,
    EventData,
    FailedData,
    MovedData,
    PreemptedData,
    ReadyData,
    RefusedData,
    RemovedData,
    RequestedData,
    SuspendedData,
    TargetLostData,
    type_of,
)
from shared.model.refs import PlacementRef, TargetRef
from shared.pipeline.messages import Bound, Cleared, Decided, Displayed, Message, Overwritten, Requested

EVENTS_STREAM = "MOORAGE_EVENTS"
EVENTS_SUBJECT = "moorage.events"
SOURCE = "/moorage"
"""The `source` of all of them. Their ids begin with the uid of a Placement, so that no two hubs have the same."""

_CARRIED = ("traceparent", "tracestate")
_SEQUENCE_DIGITS = 10


class PlacementEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact, to be told. `occasion` tells it from others of its kind about the same Placement; `at` is when it became
    true, in RFC 3339, empty where nobody knows. `repeated`: it may have been told before.
    """

    data: EventData
    occasion: str
    at: str = ""
    repeated: bool = False

    @property
    def id(self) -> str:
        """The fact's identity."""
        return f"{self.data.uid}:{self.data.kind}:{self.occasion}"

    @property
    def subject(self) -> str:
        """Where it is published."""
        return subject_of(self.data.placement, self.data.kind)

    def encoded(self, headers: Mapping[str, str]) -> bytes:
        """The CloudEvent, as part of the trace that the `headers` of a message name."""
        carried = {name: headers[name] for name in _CARRIED if name in headers}
        event = CloudEvent(
            id=self.id,
            source=SOURCE,
            type=type_of(self.data.kind),
            subject=self.data.placement.id,
            time=self.at,
            extensions={**carried, "sequence": f"{self.data.attempt:0{_SEQUENCE_DIGITS}}"},
            data=msgspec.json.encode(self.data),
        )
        return structured(event)


def subject_of(placement: PlacementRef, kind: str) -> str:
    """Where events of a kind about a placement are published."""
    return f"{EVENTS_SUBJECT}.{placement.key}.{kind}"


def derive(message: Message) -> tuple[PlacementEvent, ...]:
    """The facts that a message states, in the order in which they became true."""
    found = _DERIVATIONS.get(type(message))
    return tuple(found[0](message)) if found is not None else ()


def kinds_of(kind: type[Message]) -> tuple[type[EventData], ...]:
    """What may be derived from a kind of message."""
    found = _DERIVATIONS.get(kind)
    return found[1] if found is not None else ()


def _requested(message: Requested) -> Iterable[PlacementEvent]:
    request, common = message.request, _common(message)
    at = rfc3339(request.requested_at) if request.requested_at else ""
    for target, since in request.leaving_since.items():
        fact, left = {**common, "attempt": since}, TargetRef.parse(target)
        why: EventData = TargetLostData(**fact, target=left)
        if who := request.preempted.get(target):
            why = PreemptedData(**fact, target=left, by=who)
        yield PlacementEvent(data=why, occasion=f"{since}:{target}", at=at, repeated=since < message.at.attempt)
    data = RequestedData(
        **common,
        cause=request.cause.code,
        detail=request.cause.detail,
        requester=request.requester.username if request.requester is not None else "",
    )
    yield PlacementEvent(data=data, occasion=str(message.at.attempt), at=at)


def _decided(message: Decided) -> Iterable[PlacementEvent]:
    common, refusal, at = _common(message), message.refusal, message.decided_at
    attempt, cause = message.head.attempt, message.cause
    if message.contended:
        return  # nothing is written of that: it is decided again at once
    if refusal is not None:
        refused = RefusedData(
            **common,
            code=refusal.code,
            message=refusal.message,
            stage=refusal.stage,
            targets=_named(message.previous),
        )
        yield PlacementEvent(data=refused, occasion=str(attempt), at=at)
        return
    decided = DecidedData(
        **common,
        targets=tuple(map(_chosen, message.selected[:MOST_TARGETS])),
        selected=len(message.selected),
        considered=message.considered,
        cause=cause.code if cause is not None else "",
    )
    occasion = f"{attempt}:{_digest(message.selected)}"
    yield PlacementEvent(data=decided, occasion=occasion, at=at)
    selected, previous = {each.target: None for each in message.selected}, dict.fromkeys(message.previous)
    if left := [target for target in previous if target not in selected]:
        moved = MovedData(
            **common,
            from_=_named(left),
            to=_named(target for target in selected if target not in previous),
            cause=cause.code if cause is not None else "",
            detail=cause.detail if cause is not None else "",
        )
        yield PlacementEvent(data=moved, occasion=occasion, at=at)


def _overwritten(message: Overwritten) -> Iterable[PlacementEvent]:
    return (msgspec.structs.replace(event, repeated=True) for event in _decided(message))


def _bound(message: Bound) -> Iterable[PlacementEvent]:
    common, target = _common(message), TargetRef.parse(message.target)
    if message.phase == "Removed" and message.held:
        removed = RemovedData(**{**common, "attempt": message.held}, target=target, message=message.message)
        yield _of_target(message, removed, str(message.held))
    elif message.phase == "Failed":
        failed = FailedData(**common, target=target, reason=message.reason, message=message.message)
        yield _of_target(message, failed, f"{message.head.attempt}:{message.since}:{message.reason}")
    elif message.applied:
        bound = BoundData(**{**common, "attempt": message.applied}, target=target, objects=len(message.objects))
        yield _of_target(message, bound, str(message.applied))


def _displayed(message: Displayed) -> Iterable[PlacementEvent]:
    common, occasion = _common(message), message.since
    data: EventData
    match message.phase:
        case "Ready" | "Idle":  # in all targets that are wanted, of which there may be none
            data, occasion = ReadyData(**common, targets=message.targets), f"{message.since}:{message.head.attempt}"
        case "Degraded":
            data = DegradedData(**common, targets=message.targets, degraded=message.degraded, message=message.message)
        case "Suspended":
            data = SuspendedData(**common)
        case _:
            return
    yield PlacementEvent(data=data, occasion=occasion, at=message.became, repeated=message.repeated)


def _cleared(message: Cleared) -> Iterable[PlacementEvent]:
    yield PlacementEvent(data=RemovedData(**_common(message)), occasion="everywhere", at=message.since)


def _of_target(message: Bound, data: EventData, occasion: str) -> PlacementEvent:
    return PlacementEvent(
        data=data, occasion=f"{occasion}:{message.target}", at=message.since, repeated=message.repeated
    )


_DERIVATIONS: dict[type[Message], tuple[Callable[[Any], Iterable[PlacementEvent]], tuple[type[EventData], ...]]] = {
    Requested: (_requested, (TargetLostData, PreemptedData, RequestedData)),
    Decided: (_decided, (DecidedData, MovedData, RefusedData)),
    Overwritten: (_overwritten, (DecidedData, MovedData, RefusedData)),
    Bound: (_bound, (BoundData, FailedData, RemovedData)),
    Displayed: (_displayed, (ReadyData, DegradedData, SuspendedData)),
    Cleared: (_cleared, (RemovedData,)),
}
"""By the kind of message: what derives its facts, and of which kinds these are."""


def _common(message: Message) -> dict[str, Any]:
    head = message.at
    return {"placement": message.about, "uid": head.uid, "generation": head.generation, "attempt": head.attempt}


def _chosen(choice: Choice) -> DecidedTarget:
    return DecidedTarget(target=TargetRef.parse(choice.target), score=choice.score, replicas=choice.replicas)


def _digest(choices: Iterable[Choice]) -> str:
    """Stands for what was chosen: of one attempt it is written anew where some of its reservations were lost."""
    chosen = sorted((each.target, each.replicas) for each in choices)
    return hashlib.sha256(msgspec.json.encode(chosen)).hexdigest()[:8]


def _named(targets: Iterable[str]) -> tuple[TargetRef, ...]:
    return tuple(map(TargetRef.parse, islice(targets, MOST_TARGETS)))

"""Answers to requests, as events: the same one is published, and sent to who waits for it. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from services.intake.core import RequestRejected
from shared.cloudevents import CloudEvent, structured
from shared.model.asking import AcceptedData, AnswerEntry, RejectedData, RequestRef
from shared.model.events import type_of
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_SUBJECT, SOURCE
from shared.pipeline.requests import RequestSubject


class AnsweredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of the request that it is for. `key` tells answers to one request from those to others."""

    subject: RequestSubject
    key: str
    source: str = ""
    id: str = ""
    trace: str = ""

    def accepted(self, ref: PlacementRef, metadata: Mapping[str, Any], at: str) -> AnswerEntry:
        """That it was carried out at a time in RFC 3339; `metadata` is that of the Placement."""
        data = AcceptedData(
            placement=ref,
            request=self._ref,
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
            events=f"{EVENTS_SUBJECT}.{ref.key}.>",
        )
        return self._answer(data, ref, at)

    def rejected(self, why: RequestRejected, ref: PlacementRef | None, at: str) -> AnswerEntry:
        """That it was not carried out, and why."""
        data = RejectedData(request=self._ref, code=why.code, message=str(why), placement=ref)
        return self._answer(data, ref, at, f"{why.code}: {why}")

    def decided(self, data: bytes, ref: PlacementRef, at: str) -> bytes:
        """What would be decided, as an event; `data` is the answer as JSON."""
        return structured(self._event("answered", data, ref, at))

    @property
    def _ref(self) -> RequestRef:
        return RequestRef(verb=self.subject.verb, user=self.subject.user, source=self.source, id=self.id)

    def _answer(
        self, data: AcceptedData | RejectedData, ref: PlacementRef | None, at: str, rejection: str = ""
    ) -> AnswerEntry:
        """What is about no placement is published with empty names in its place."""
        event = self._event(data.kind, msgspec.json.encode(data), ref, at)
        about = ref or PlacementRef(workspace=self.subject.workspace, namespace="", name="")
        subject = f"{EVENTS_SUBJECT}.{about.key}.{data.kind}"
        return AnswerEntry(id=event.id, subject=subject, event=structured(event).decode(), rejection=rejection)

    def _event(self, kind: str, data: bytes, ref: PlacementRef | None, at: str) -> CloudEvent:
        return CloudEvent(
            id=f"{self.key}:{kind}",
            source=SOURCE,
            type=type_of(kind),
            subject=ref.id if ref else "",
            time=at,
            extensions={"traceparent": self.trace} if self.trace else {},
            data=data,
        )


def fingerprint(subject: str, payload: bytes, sequence: int) -> str:
    """What a message is known by that has no usable id, however often it comes."""
    digest = hashlib.sha256(subject.encode() + b"\0" + payload).hexdigest()
    return f"{digest[:32]}:{sequence}"

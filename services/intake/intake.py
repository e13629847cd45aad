"""A request from its delivery to its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from services.intake import core
from services.intake.answers import AnsweredRequest, fingerprint
from services.intake.core import Placing, RequestRejected, Withdrawing
from services.intake.deciding import Deciding
from services.intake.journal import Journal
from services.intake.users import Users
from services.intake.writing import Writer, after
from shared.broker.bus import Bus, Delivery, Reject, Retry
from shared.broker.tokens import escape
from shared.cloudevents import CONTENT_TYPE, STRUCTURED, CloudEvent, InvalidEvent, parse
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339
from shared.model.asking import AnswerEntry
from shared.model.request import Requester
from shared.pipeline.requests import ANSWERS_SUBJECT, INBOX, RequestSubject

_HEADERS = {CONTENT_TYPE: STRUCTURED}


@dataclass
class Intake:
    """What the worker has while it runs."""

    bus: Bus
    users: Users
    journal: Journal
    writer: Writer
    clock: Callable[[], float]
    hub: Literal["kcp", "kubernetes"]
    deciding: Deciding = field(init=False)

    async def handle(self, delivery: Delivery) -> None:
        """Carry out what a delivery asks for, and answer. What is rejected is answered first, then parked."""
        try:
            subject = RequestSubject.parse(delivery.subject)
        except ValueError as error:
            raise Reject(str(error)) from None
        inbox, answer = await self._answered(subject, delivery)
        payload = answer.event.encode()
        await self.bus.publish(answer.subject, payload, id=answer.id, headers=_HEADERS)
        if inbox:
            # In our own NATS account, and for who is in another one and may listen to what is for their workspace.
            await self.bus.tell(inbox, payload, headers=_HEADERS)
            told = f"{ANSWERS_SUBJECT}.{escape(subject.workspace)}.{inbox.removeprefix(INBOX)}"
            await self.bus.tell(told, payload, headers=_HEADERS)
        if answer.rejection:
            raise Reject(answer.rejection)

    async def _answered(self, subject: RequestSubject, delivery: Delivery) -> tuple[str, AnswerEntry]:
        """The inbox that waits for the answer, if there is one, and the answer."""
        key = fingerprint(delivery.subject, delivery.payload, delivery.sequence)
        asked = AnsweredRequest(subject=subject, key=key)
        inbox, ref = "", None
        try:
            event = parse(delivery.payload, delivery.headers)
            trace = str(event.extensions.get("traceparent", ""))
            asked = AnsweredRequest(subject=subject, key=key, source=event.source, id=event.id, trace=trace)
            inbox = core.reply_to(event.extensions)
            requester = self.requester(subject)
            wanted = core.wanted(event, subject)
            ref = wanted.placement
            return inbox, await self._carried_out(asked, event, wanted, requester, delivery)
        except InvalidEvent as error:
            inbox = _readable_inbox(error.attributes)
            return inbox, asked.rejected(RequestRejected("InvalidEvent", str(error)), None, self._now())
        except RequestRejected as why:
            return inbox, asked.rejected(why, ref, self._now())

    def requester(self, subject: RequestSubject) -> Requester:
        """Who is spoken for. Raises RequestRejected."""
        if self.hub == "kubernetes" and subject.workspace:
            raise RequestRejected("NotFound", "this hub has no workspaces: in the subject it is the empty name, `=`")
        if self.hub == "kcp" and not subject.workspace:
            raise RequestRejected("NotFound", "the subject names no workspace, and this hub has some: say which")
        requester = self.users.get(subject.workspace, subject.user)
        if requester is None:
            raise RequestRejected("UnknownUser", f"the operator has mapped nobody to user {subject.user[:100]!r} there")
        return requester

    async def _carried_out(
        self,
        asked: AnsweredRequest,
        event: CloudEvent,
        wanted: Placing | Withdrawing,
        requester: Requester,
        delivery: Delivery,
    ) -> AnswerEntry:
        """The answer that a request was given, or is given now."""
        key, ref = core.key_of(asked.subject, event), wanted.placement
        about = f"{asked.subject.verb} {ref}"
        entry = await self.journal.begin(key, core.digest_of(event), delivery.sequence, about)
        if entry.answer is not None:
            return entry.answer
        asked = msgspec.structs.replace(asked, key=key)
        try:
            await self.journal.take_turn(ref, key, asked.subject.subject, entry.sequence)
            metadata = await self._written(wanted, requester, key, delivery.attempt)
        except RequestRejected as why:
            answer = asked.rejected(why, ref, self._now())
        else:
            answer = asked.accepted(ref, metadata, self._now())
        return await self.journal.answer(key, entry, answer)

    async def _written(
        self, wanted: Placing | Withdrawing, requester: Requester, key: str, attempt: int
    ) -> Mapping[str, Any]:
        """Have it written on the hub; the metadata of the Placement. What may pass is tried again, up to a point."""

        async def still_wanted() -> None:
            if not await self.journal.is_last(wanted.placement, key):
                raise RequestRejected("Superseded", f"a later request about {wanted.placement} came meanwhile")

        try:
            if isinstance(wanted, Placing):
                return await self.writer.place(wanted, requester, still_wanted)
            return await self.writer.withdraw(wanted.placement, requester, still_wanted)
        except (KubeError, Retry, ValueError) as error:
            raise after(error, attempt) from None

    def _now(self) -> str:
        return rfc3339(self.clock())


def _readable_inbox(attributes: Mapping[str, Any]) -> str:
    try:
        return core.reply_to(attributes)
    except RequestRejected:
        return ""

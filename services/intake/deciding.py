"""Questions what would be decided: from a request to its answer, both CloudEvents, with nothing written on the way."""

from collections import Counter
from collections.abc import Callable
from secrets import token_hex

from services.intake import core
from services.intake.answers import AnsweredRequest
from services.intake.core import RequestRejected
from services.intake.gathering import Gathering
from services.intake.settings import IntakeSettings
from services.intake.writing import rejection
from shared.broker.batches import Batches
from shared.broker.bus import Asked, Bus, BusError, Reject, Reply, Retry, Unanswered, UnansweredCode
from shared.cloudevents import CONTENT_TYPE, MOST_BYTES, STRUCTURED, InvalidEvent, parse
from shared.kube.errors import ApiError, KubeError
from shared.kube.times import rfc3339
from shared.model.asking import RequestRejectionCode
from shared.model.refs import PlacementRef
from shared.model.request import Question, Requester
from shared.pipeline.questions import what_would_be_decided
from shared.pipeline.requests import RequestSubject

LARGEST_ANSWER = MOST_BYTES - 8192
"""Bytes: what a message holds beside its headers. Between the stages more goes by claim check, up to 64 MiB; who asks
is answered by NATS alone."""

_HEADERS = {CONTENT_TYPE: STRUCTURED}
_CODES: dict[UnansweredCode, RequestRejectionCode] = {"Busy": "Busy", "Timeout": "Timeout"}
"""What a request is rejected with where a stage has no answer; all else is Unavailable."""


class Deciding:
    """Answers what would be decided. `speaker` says who is spoken for, or raises RequestRejected."""

    def __init__(
        self,
        bus: Bus,
        settings: IntakeSettings,
        gathering: Gathering,
        speaker: Callable[[RequestSubject], Requester],
        clock: Callable[[], float],
    ) -> None:
        self._stages = Batches(bus)
        self._settings = settings
        self._gathering = gathering
        self._speaker = speaker
        self._clock = clock
        self._under_way: Counter[str] = Counter()  # by workspace

    async def answer(self, asked: Asked) -> Reply:
        """The answer to a question: an event of what would be decided, or that it is rejected and why."""
        try:
            subject = RequestSubject.parse(asked.subject)
        except ValueError as error:
            subject, why = RequestSubject("", "", "decide"), RequestRejected("InvalidRequest", str(error))
            return self._reply(AnsweredRequest(subject=subject, key=token_hex(16)), why)
        workspace = subject.workspace
        request = AnsweredRequest(subject=subject, key=token_hex(16))
        if (
            self._under_way.total() >= self._settings.decide_concurrency
            or self._under_way[workspace] >= self._settings.decide_workspace_concurrency
        ):
            return self._reply(request, RequestRejected("Busy", "more is asked at once than is answered"))
        self._under_way[workspace] += 1
        try:
            return await self._answered(request, asked)
        finally:
            self._under_way[workspace] -= 1
            if not self._under_way[workspace]:
                del self._under_way[workspace]

    async def _answered(self, request: AnsweredRequest, asked: Asked) -> Reply:
        ref: PlacementRef | None = None
        try:
            event = parse(asked.payload, asked.headers)
            trace = str(event.extensions.get("traceparent", ""))
            request = AnsweredRequest(
                subject=request.subject, key=request.key, source=event.source, id=event.id, trace=trace
            )
            requester = self._speaker(request.subject)
            wanted = core.to_decide(event, request.subject)
            ref = wanted.placement
            question = Question(id=request.key, reserve=wanted.reserve)
            about = await self._gathering.request(wanted, requester, question)
            data = await what_would_be_decided(self._stages, about, timeout=self._settings.decide_seconds)
        except InvalidEvent as error:
            return self._reply(request, RequestRejected("InvalidEvent", str(error)))
        except RequestRejected as why:
            return self._reply(request, why, ref)
        except Unanswered as error:
            return self._reply(request, RequestRejected(_CODES.get(error.code, "Unavailable"), str(error)), ref)
        except ApiError as error:
            return self._reply(request, rejection(error) or RequestRejected("Unavailable", str(error)), ref)
        except (KubeError, BusError, Retry, Reject) as error:
            return self._reply(request, RequestRejected("Unavailable", str(error)), ref)
        payload = request.decided(data, ref, rfc3339(self._clock()))
        if len(payload) > LARGEST_ANSWER:
            size = f"the answer has {len(payload)} bytes, and a message holds {LARGEST_ANSWER}: ask for fewer targets"
            return self._reply(request, RequestRejected("TooLarge", size), ref)
        return Reply(payload, _HEADERS)

    def _reply(self, request: AnsweredRequest, why: RequestRejected, ref: PlacementRef | None = None) -> Reply:
        return Reply(request.rejected(why, ref, rfc3339(self._clock())).event.encode(), _HEADERS)

"""Asking Moorage over NATS, as any other program would: a CloudEvent out, the answer in."""

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.events import SeenEvent, seen
from shared.broker.bus import ID_HEADER, Bus, BusError, Forbidden, Unanswered
from shared.broker.nats.answers import api_answer
from shared.broker.nats.client import NatsClient
from shared.cloudevents import CONTENT_TYPE, MOST_BYTES, STRUCTURED, CloudEvent, InvalidEvent, parse, structured
from shared.model.answer import DecisionAnswer
from shared.model.asking import RejectedData, request_type
from shared.model.events import type_of
from shared.model.words import Verb
from shared.pipeline.requests import REPLY_TO

if TYPE_CHECKING:
    from nats.aio.msg import Msg

SOURCE = "/moorage/cli"
_ANSWERED = type_of("answered")
_ANSWER = msgspec.json.Decoder(DecisionAnswer)
ANSWERED_WITHIN, STORED_WITHIN = 30.0, 10.0
"""Seconds."""


def request(verb: Verb, data: dict[str, Any], *, id: str = "", reply_to: str = "") -> CloudEvent:
    """The event that asks; raises UsageError for one that is too large."""
    event = CloudEvent(
        id=id or uuid.uuid4().hex,
        source=SOURCE,
        type=request_type(verb),
        extensions={REPLY_TO: reply_to} if reply_to else {},
        data=msgspec.json.encode(data),
    )
    if (size := len(structured(event))) > MOST_BYTES:
        raise UsageError(f"a request may have {MOST_BYTES} bytes, and this one has {size}")
    return event


async def carried_out(client: NatsClient, verb: Verb, where: str, data: dict[str, Any], id: str = "") -> SeenEvent:
    """Publish a request that is stored, and the answer to it, once it was carried out.

    Raises CommandError where it is rejected, or not answered; BusError.
    """
    inbox = client.new_inbox()
    answer: asyncio.Future[SeenEvent] = asyncio.get_running_loop().create_future()

    def take(message: "Msg") -> None:
        event = seen(message.data, dict(message.headers or {}))
        if event is not None and not answer.done():
            answer.set_result(event)

    event = request(verb, data, id=id, reply_to=inbox)
    subscription = await client.subscribe(inbox, take)
    try:
        headers = {CONTENT_TYPE: STRUCTURED, ID_HEADER: f"{event.source}:{event.id}"}
        api_answer(await _stored(client, where, structured(event), headers))
        async with asyncio.timeout(ANSWERED_WITHIN):
            answered = await answer
    except TimeoutError:
        raise CommandError(
            f"the request {event.id} is stored and was not answered within {ANSWERED_WITHIN:g} s: is the worker intake"
            " at work? It waits for a day, and the answer goes to the events as well"
        ) from None
    finally:
        await subscription.unsubscribe()
    _check(answered)
    return answered


async def _stored(client: NatsClient, where: str, payload: bytes, headers: dict[str, str]) -> "Msg":
    """What JetStream says of a request. Raises CommandError where nothing takes it, Forbidden where that is denied."""
    try:
        return await client.request(where, payload, headers, deadline=STORED_WITHIN)
    except Forbidden:
        raise
    except BusError as error:
        raise CommandError(
            f"no stream takes requests ({error}): the worker intake makes it as it starts, or `moorage provision`"
        ) from None


async def decide(bus: Bus, where: str, data: dict[str, Any], timeout: float) -> tuple[CloudEvent, DecisionAnswer]:
    """Ask what would be decided; returns the answer, as the event that it came in and what that says.

    Raises CommandError where the request is rejected, or not answered within `timeout` seconds; BusError.
    """
    payload = structured(request("decide", data))
    try:
        reply = await bus.ask(where, payload, timeout=timeout, headers={CONTENT_TYPE: STRUCTURED})
        event = parse(reply.payload, reply.headers or {})
        if event.type == _ANSWERED:
            return event, _ANSWER.decode(event.data)
    except Unanswered as error:
        raise CommandError(f"nobody says what would be decided ({error}): is the worker intake at work?") from None
    except (InvalidEvent, msgspec.MsgspecError) as error:
        raise CommandError(f"the answer cannot be read: {error}") from None
    _check(seen(reply.payload, dict(reply.headers or {})))
    raise CommandError(f"the answer is of the type {event.type}, which this version does not know")


def _check(answered: SeenEvent | None) -> None:
    if answered is not None and isinstance(answered.data, RejectedData):
        raise CommandError(f"rejected: {answered.data.message} ({answered.data.code})")

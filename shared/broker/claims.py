"""Large payloads travel by claim check: the message holds a reference to the object store."""

from collections.abc import Mapping

from shared.aio.backoff import backoff
from shared.broker.bus import Asked, Bus, Delivery, Reject, Reply, Retry

CLAIM_HEADER = "Moorage-Claim"


CLAIM_ABOVE = 256 * 1024
"""Payloads above this many bytes travel by claim check: the message holds a reference to the object store."""


ASKED_BY_CLAIM_ABOVE = 960 * 1024
"""The same for questions and answers, which nobody keeps: as much as a message holds beside its headers."""


CLAIM_ATTEMPTS = 3
"""Deliveries after which a payload that is not in the object store counts as gone."""


async def send(bus: Bus, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
    """Publish, by claim check where the payload is large."""
    if len(payload) <= CLAIM_ABOVE:
        return await bus.publish(subject, payload, id=id, headers=headers)
    claim = await bus.put_blob(payload)
    return await bus.publish(subject, b"", id=id, headers={**(headers or {}), CLAIM_HEADER: claim})


async def payload_of(bus: Bus, delivery: Delivery) -> bytes:
    """The payload, fetched from the object store where the message is a claim.

    A claim that is not there is tried again before the message is rejected: in a cluster, the server that answers may
    be some milliseconds behind the one that stored the payload.
    """
    claim = delivery.headers.get(CLAIM_HEADER)
    if claim is None:
        return delivery.payload
    try:
        return await bus.get_blob(claim)
    except KeyError:
        if delivery.attempt < CLAIM_ATTEMPTS:
            raise Retry(backoff(delivery.attempt), f"payload {claim} is not in the object store yet") from None
        raise Reject(f"payload {claim} is no longer in the object store") from None


async def ask(
    bus: Bus, subject: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
) -> bytes:
    """Ask, and return the answer, either by claim check where it is too large for a message. Raises as `Bus.ask`."""
    question = await reply_with(bus, payload)
    if question.headers:
        headers = {**(headers or {}), **question.headers}
    found = await bus.ask(subject, question.payload, timeout=timeout, headers=headers)
    return await _opened(bus, found.payload, found.headers)


async def asked(bus: Bus, question: Asked) -> bytes:
    """The payload of a question. Raises `Reject` where it is a claim that leads nowhere."""
    return await _opened(bus, question.payload, question.headers)


async def reply_with(bus: Bus, payload: bytes) -> Reply:
    """An answer as it travels."""
    if len(payload) <= ASKED_BY_CLAIM_ABOVE:
        return Reply(payload)
    return Reply(b"", {CLAIM_HEADER: await bus.put_blob(payload)})


async def _opened(bus: Bus, payload: bytes, headers: Mapping[str, str]) -> bytes:
    claim = headers.get(CLAIM_HEADER) if headers else None
    if claim is None:
        return payload
    try:
        return await bus.get_blob(claim)
    except KeyError:
        raise Reject(f"payload {claim} is not in the object store") from None

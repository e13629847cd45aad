"""Large payloads travel by claim check: the message holds a reference to the object store."""

from collections.abc import Mapping

from shared.aio.backoff import backoff
from shared.broker.bus import Bus, Delivery, Reject, Retry

CLAIM_HEADER = "Moorage-Claim"


CLAIM_ABOVE = 256 * 1024
"""Payloads above this many bytes travel by claim check: the message holds a reference to the object store."""


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

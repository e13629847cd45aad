"""Dead letters: how a message is parked with its cause, and what it was before."""

import hashlib
import logging
from collections.abc import Mapping

from shared.broker.bus import ID_HEADER, Bus, Consumer, DeadLetter, Delivery, Stream
from shared.broker.claims import CLAIM_ABOVE
from shared.broker.subjects import check_subject, is_subject

log = logging.getLogger("moorage.bus")

CAUSE_HEADER = "Moorage-Cause"


ORIGIN_HEADER = "Moorage-Subject"


CONSUMER_HEADER = "Moorage-Consumer"


DEAD = "moorage.dead"


GARBAGE = "garbage"
"""The token below which lies, by consumer, what came from a subject that nobody can publish on."""


MOST_HEADERS = 16 * 1024
"""Bytes of the headers of a message that is parked."""


DEAD_STREAM = "MOORAGE_DEAD"
"""Where parked messages lie: the stream of this name on `moorage.dead.>` is provisioned like any other."""


DEAD_LETTERS = Stream(
    name=DEAD_STREAM,
    subjects=(f"{DEAD}.>",),
    description="Messages that were given up, with their cause",
    max_age=30 * 86_400.0,
    max_bytes=256 << 20,
)
"""That stream, with one replica."""


def dead_letter_id(consumer: str, delivery: Delivery) -> str:
    """An id by which the same message, parked twice because of a crash in between, is one dead letter."""
    digest = hashlib.sha256(delivery.payload).hexdigest()[:16]
    return f"dead:{consumer}:{delivery.sequence}:{digest}"


async def park(bus: Bus, consumer: Consumer, delivery: Delivery, cause: str) -> None:
    headers = {name: value for name, value in delivery.headers.items() if not name.startswith("Nats-")}
    payload, size = delivery.payload, sum(len(name) + len(value) for name, value in headers.items())
    if len(payload) > CLAIM_ABOVE or size > MOST_HEADERS:  # nothing of ours is: a stranger's would push out what is
        payload, headers, cause = b"", {}, f"{cause} (its {len(payload) + size} bytes are not kept)"
    headers |= {CAUSE_HEADER: _one_line(cause), ORIGIN_HEADER: delivery.subject, CONSUMER_HEADER: consumer.name}
    place = f"{DEAD}.{delivery.subject.removeprefix('moorage.')}"
    if not is_subject(place):  # strangers can publish on what we would not
        place = f"{DEAD}.{GARBAGE}.{consumer.name}"
    await bus.publish(place, payload, id=dead_letter_id(consumer.name, delivery), headers=headers)
    await delivery.terminate(_one_line(cause))
    log.error("message parked", extra={"consumer": consumer.name, "subject": delivery.subject, "cause": cause})


def origin(place: str, headers: Mapping[str, str]) -> str:
    """The subject that a parked message came from. Where it lies says so, and not a header, which anybody may write.

    What came from a subject that nobody can publish on has only the header.
    """
    below = place.removeprefix(f"{DEAD}.")
    if not below.startswith(f"{GARBAGE}."):
        return f"moorage.{below}"
    told = headers.get(ORIGIN_HEADER, "")
    return place if is_subject(told) else told


def replay_to(letter: DeadLetter) -> str:
    """Where a letter can be sent again to; raises ValueError where it came from nowhere that can be published on."""
    if letter.subject.startswith(f"{DEAD}."):
        raise ValueError(f"dead letter {letter.sequence} came from no subject that it could be sent to again")
    return check_subject(letter.subject)


def _one_line(text: str, limit: int = 500) -> str:
    """Header values may not hold line breaks, and causes may be long."""
    return " ".join(text.split())[:limit]


def replay_id(letter: DeadLetter) -> str:
    """A new id, as the old one may still be known as a duplicate; replaying the same letter twice is one message."""
    return f"replay:{letter.sequence}:{letter.time}"


def replay_headers(letter: DeadLetter) -> dict[str, str]:
    """The headers that the message had before it was parked."""
    parking = (CAUSE_HEADER, ORIGIN_HEADER, CONSUMER_HEADER, ID_HEADER)
    return {name: value for name, value in letter.headers.items() if name not in parking}

"""Deliveries to handlers, and the answer to each by how its handler ended.

A handler returns (then its message is acknowledged), raises `Retry(delay)` or `Reject(reason)`, or fails with any other
exception. Such a failure is logged and the message delivered again, with growing pauses; after `max_failures` of them
it goes to the dead-letter stream, with the cause. Each copy counts the failures that it saw: the broker counts
deliveries, and most of these may be retries that were asked for.
"""

import logging
from collections.abc import Awaitable, Callable

from shared.aio.backoff import backoff
from shared.aio.lru import Lru
from shared.broker.bus import Bus, BusError, Consumer, Delivery, GivenUp, Parking, Reject, Retry, is_outage, unwatched
from shared.broker.dead import park

log = logging.getLogger("moorage.bus")


REMEMBERED = 10_000
"""Messages of which a consumer remembers something: how often they failed here, how often they were given back."""


def message_id(delivery: Delivery) -> str:
    """What all deliveries of a message have in common. Its headers would not do: strangers may choose them."""
    return str(delivery.sequence)


async def dispatch(
    bus: Bus,
    consumer: Consumer,
    delivery: Delivery,
    handle: "Callable[[Delivery], Awaitable[None]]",
    failures: Lru[str, int],
    parking: Parking = unwatched,
) -> None:
    """Run a handler on one delivery, and answer the delivery according to how the handler ended.

    `failures` counts, by the message's id, how often a handler failed; it is kept from one delivery to the next.

    Raises nothing but cancellation.
    """
    try:
        await handle(delivery)
    except Retry as retry:
        patient = delivery.attempt >= consumer.patience
        await _answer(delivery.nak(max(retry.delay, consumer.patient_delay) if patient else retry.delay))
    except Reject as reason:
        await _answer(_give_up(bus, consumer, delivery, "rejected", str(reason), parking))
    except Exception as error:
        told = {"consumer": consumer.name, "subject": delivery.subject, **_traced(delivery)}
        outage = is_outage(error)
        if outage:
            log.warning("handler waits for the bus", extra={**told, "error": str(error)})
        else:
            log.exception("handler failed", extra=told)
        failed = (failures.get(message_id(delivery)) or 0) + (not outage)
        failures.put(message_id(delivery), failed)
        if failed >= consumer.max_failures and not outage:
            await _answer(_give_up(bus, consumer, delivery, "failed", f"{type(error).__name__}: {error}", parking))
        else:
            await _answer(delivery.nak(backoff(delivery.attempt if outage else failed)))
    else:
        failures.pop(message_id(delivery))
        await _answer(delivery.ack())


async def _give_up(
    bus: Bus, consumer: Consumer, delivery: Delivery, why: GivenUp, cause: str, parking: Parking
) -> None:
    with parking(delivery, why, cause):
        await park(bus, consumer, delivery, cause)


def _traced(delivery: Delivery) -> dict[str, str]:
    """The trace of a message, for log lines after its handler ended, which have it of themselves before."""
    trace = delivery.headers.get("traceparent", "")[3:35]
    return {"trace": trace} if trace else {}


async def _answer(answering: Awaitable[None]) -> None:
    """Answer a delivery. If the broker cannot be reached, nothing is lost: it delivers the message again."""
    try:
        await answering
    except (BusError, OSError, TimeoutError) as error:
        log.warning("could not answer a delivery, it will come again", extra={"error": str(error)})

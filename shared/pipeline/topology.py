"""Streams, consumers and buckets that the broker must hold, derived from the workers' declarations."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shared.broker.bus import Consumer, Service, Stream
from shared.broker.dead import DEAD_LETTERS
from shared.broker.store import Bucket
from shared.pipeline.buckets import BUCKETS, HEADS
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT
from shared.pipeline.messages import PIPELINE, Message
from shared.pipeline.worker import Answerer, Endpoint, Receiver, Worker
from shared.process.settings import ProvisionSettings

PIPELINE_STREAM = "MOORAGE_PIPELINE"
AHEAD = 256
"""Messages that wait in each copy of a worker for their workspace's turn."""


class TopologyError(ValueError):
    """Declarations that do not fit together: a message that nobody consumes, or that nobody emits."""


def streams(settings: ProvisionSettings | None = None) -> tuple[Stream, ...]:
    """The streams, the same whatever workers there are; without settings, as they are by default."""
    settings = settings or ProvisionSettings()
    replicas = settings.stream_replicas
    return (
        Stream(
            name=PIPELINE_STREAM,
            subjects=(f"{PIPELINE}.>",),
            description="The pipeline: the last message per stage and placement",
            last_per_subject=True,
            max_bytes=settings.pipeline_max_bytes,
            replicas=replicas,
        ),
        Stream(
            name=EVENTS_STREAM,
            subjects=(f"{EVENTS_SUBJECT}.>",),
            description="What became of placements, as CloudEvents",
            max_age=settings.events_max_age_seconds,
            max_bytes=settings.events_max_bytes,
            most_consumers=settings.events_max_consumers,
            unused_consumers=settings.events_max_age_seconds,
            replicas=replicas,
        ),
        msgspec.structs.replace(DEAD_LETTERS, replicas=replicas),
    )


def received(workers: Iterable[Worker], replicas: int = 1) -> tuple[Stream, ...]:
    """The streams that only these workers need: where a worker is left out, nobody is told that its stream took it."""
    found = (each.stream for worker in workers for each in worker.receivers if each.stream is not DEAD_LETTERS)
    return tuple(msgspec.structs.replace(stream, replicas=replicas) for stream in dict.fromkeys(found))


def consumer(worker: Worker, kind: type[Message], concurrency: int = 32) -> Consumer:
    """The durable consumer by which all copies of a worker share one stage."""
    return Consumer(
        name=f"{worker.name}-{kind.stage}",
        stream=PIPELINE_STREAM,
        subject=f"{PIPELINE}.{kind.stage}.>",
        concurrency=concurrency,
        ahead=AHEAD,
    )


def receiving(worker: Worker, receiver: Receiver) -> Consumer:
    """The durable consumer by which all copies of a worker share what others publish."""
    return Consumer(
        name=f"{worker.name}-{receiver.name}",
        stream=receiver.stream.name,
        subject=receiver.subject,
        concurrency=receiver.concurrency,
        ahead=AHEAD,
    )


def consumers(worker: Worker) -> tuple[Consumer, ...]:
    """All consumers of one worker."""
    staged = (consumer(worker, handler.consumes, handler.concurrency) for handler in worker.handlers)
    return (*staged, *(receiving(worker, receiver) for receiver in worker.receivers))


def service(worker: Worker, answerer: Answerer) -> Service:
    """The service by which all copies of a worker answer questions about one kind of message."""
    return Service(subject=answerer.about.asked_on(), group=worker.name, concurrency=answerer.concurrency)


def serving(worker: Worker, endpoint: Endpoint) -> Service:
    """The service by which all copies of a worker answer what others than workers ask."""
    return Service(subject=endpoint.subject, group=worker.name, concurrency=endpoint.concurrency)


def owned(worker: Worker) -> tuple[Bucket[Any], ...]:
    """The buckets that this worker alone writes."""
    return tuple(bucket for bucket in BUCKETS if bucket.owner == worker.name)


def buckets(worker: Worker) -> tuple[Bucket[Any], ...]:
    """All buckets that it reads: those that it follows, its own, and the heads, if it drops old messages by them."""
    heads = (HEADS,) if worker.drops_superseded else ()
    read = {bucket.name for bucket in (*worker.follows, *owned(worker), *heads)}
    return tuple(bucket for bucket in BUCKETS if bucket.name in read)


def check(workers: Iterable[Worker], external: Sequence[type[Message]] = ()) -> None:
    """Raise `TopologyError` unless whatever is emitted is consumed, and the other way round, `external` aside."""
    workers = tuple(workers)
    emitted = {kind for worker in workers for kind in worker.emits}
    consumed = {kind for worker in workers for kind in worker.consumes}
    for kind in sorted(emitted - consumed - set(external), key=lambda kind: kind.__name__):
        raise TopologyError(f"{kind.__name__} is emitted but nobody consumes it; declare it external if that is meant")
    for kind in sorted(consumed - emitted - set(external), key=lambda kind: kind.__name__):
        raise TopologyError(f"{kind.__name__} is consumed but nobody emits it; declare it external if that is meant")
    answered = {answerer.about for worker in workers for answerer in worker.answerers}
    for kind in sorted(
        {kind for worker in workers for kind in worker.questions} - answered, key=lambda kind: kind.stage
    ):
        raise TopologyError(f"{kind.__name__} is asked about but nobody answers that")


def diagram(workers: Iterable[Worker]) -> str:
    """The pipeline as a Mermaid flowchart, for the README; a test compares it with what stands there."""
    workers = tuple(workers)
    lines = ["flowchart LR"]
    for kind in dict.fromkeys(kind for worker in workers for kind in worker.emits):
        senders = [worker.name for worker in workers if kind in worker.emits]
        receivers = [worker.name for worker in workers if kind in worker.consumes]
        lines += [f"    {sender} -- {kind.__name__} --> {receiver}" for sender in senders for receiver in receivers]
    for worker in workers:
        for receiver in worker.receivers:
            sender = "dead[(dead letters)]" if receiver.stream is DEAD_LETTERS else "publishers"
            lines.append(f"    {sender} -- {receiver.name} --> {worker.name}")
    return "\n".join(lines) + "\n"

"""Streams, consumers and buckets that the broker must hold, derived from the workers' declarations."""

from collections.abc import Iterable, Sequence
from typing import Any

from shared.broker.bus import Consumer, Stream
from shared.broker.dead import DEAD, DEAD_STREAM
from shared.broker.store import Bucket
from shared.pipeline.buckets import BUCKETS, HEADS
from shared.pipeline.messages import PIPELINE, Message
from shared.pipeline.worker import Worker

PIPELINE_STREAM = "MOORAGE_PIPELINE"
AHEAD = 256
"""Messages that wait in each copy of a worker for their workspace's turn."""


class TopologyError(ValueError):
    """Declarations that do not fit together: a message that nobody consumes, or that nobody emits."""


def streams(replicas: int = 1, max_bytes: int = 1 << 30) -> tuple[Stream, ...]:
    """The streams, the same whatever workers there are; `max_bytes` is what the pipeline keeps at most."""
    return (
        Stream(
            name=PIPELINE_STREAM,
            subjects=(f"{PIPELINE}.>",),
            description="The pipeline: the last message per stage and placement",
            last_per_subject=True,
            max_bytes=max_bytes,
            replicas=replicas,
        ),
        Stream(
            name=DEAD_STREAM,
            subjects=(f"{DEAD}.>",),
            description="Messages that were given up, with their cause",
            max_age=30 * 86_400.0,
            max_bytes=256 << 20,
            replicas=replicas,
        ),
    )


def consumer(worker: Worker, kind: type[Message], concurrency: int = 32) -> Consumer:
    """The durable consumer by which all copies of a worker share one stage."""
    return Consumer(
        name=f"{worker.name}-{kind.stage}",
        stream=PIPELINE_STREAM,
        subject=f"{PIPELINE}.{kind.stage}.>",
        concurrency=concurrency,
        ahead=AHEAD,
    )


def consumers(worker: Worker) -> tuple[Consumer, ...]:
    """All consumers of one worker."""
    return tuple(consumer(worker, handler.consumes, handler.concurrency) for handler in worker.handlers)


def owned(worker: Worker) -> tuple[Bucket[Any], ...]:
    """The buckets that this worker alone writes."""
    return tuple(bucket for bucket in BUCKETS if bucket.owner == worker.name)


def buckets(worker: Worker) -> tuple[Bucket[Any], ...]:
    """All buckets that it reads: those that it follows, its own, and the heads, by which it drops old messages."""
    read = {bucket.name for bucket in (*worker.follows, *owned(worker), HEADS)}
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


def diagram(workers: Iterable[Worker]) -> str:
    """The pipeline as a Mermaid flowchart, for the README; a test compares it with what stands there."""
    workers = tuple(workers)
    lines = ["flowchart LR"]
    for kind in dict.fromkeys(kind for worker in workers for kind in worker.emits):
        senders = [worker.name for worker in workers if kind in worker.emits]
        receivers = [worker.name for worker in workers if kind in worker.consumes]
        lines += [f"    {sender} -- {kind.__name__} --> {receiver}" for sender in senders for receiver in receivers]
    return "\n".join(lines) + "\n"

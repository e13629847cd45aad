"""Rights of each worker in NATS: those that its declaration implies, and no more."""

from collections.abc import Iterable

from shared.broker.dead import DEAD_STREAM
from shared.broker.nats import permissions
from shared.broker.nats.permissions import Account, Right
from shared.pipeline import topology
from shared.pipeline.messages import PIPELINE
from shared.pipeline.worker import Worker

OPERATOR = Account(
    name="operator",
    summary="people, for `moorage dead`: reads dead letters and sends them again",
    rights=permissions.replaying(f"{PIPELINE}.>"),
)


def accounts(workers: Iterable[Worker]) -> tuple[Account, ...]:
    """The accounts of some workers and of people; the administrator has the broker's own."""
    return (*(account(worker) for worker in workers), OPERATOR)


def account(worker: Worker) -> Account:
    """The account of one worker."""
    rights: list[Right] = []
    for consumer in topology.consumers(worker):
        rights += permissions.consuming(consumer)
    for kind in worker.emits:
        rights += permissions.publishing(f"{PIPELINE}.{kind.stage}.>")
    for bucket in topology.buckets(worker):
        rights += permissions.reading(bucket)
    for bucket in topology.owned(worker):
        rights += permissions.writing(bucket)
    rights += permissions.payloads()
    rights += permissions.looking(topology.PIPELINE_STREAM)
    rights += permissions.looking(DEAD_STREAM)
    return Account(name=worker.name, summary=_summary(worker), rights=tuple(rights), own=worker.asks)


def _summary(worker: Worker) -> str:
    """One line for people: what the rights are derived from."""
    told = {
        "consumes": [kind.stage for kind in worker.consumes],
        "emits": [kind.stage for kind in worker.emits],
        "reads": [bucket.name for bucket in topology.buckets(worker)],
        "writes": [bucket.name for bucket in topology.owned(worker)],
    }
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in told.items() if names)

"""Rights of each worker in NATS: those that its declaration implies, and no more."""

from collections.abc import Iterable, Mapping

from shared.broker.dead import DEAD_STREAM
from shared.broker.nats import permissions
from shared.broker.nats.handing import COPIES
from shared.broker.nats.permissions import Account, Right
from shared.pipeline import events, topology, tunnels
from shared.pipeline.messages import PIPELINE, Message
from shared.pipeline.tunnels import TunnelUser
from shared.pipeline.worker import Worker

OPERATOR = Account(
    name="operator",
    summary="people, for `moorage dead`: reads dead letters and sends them again",
    rights=permissions.replaying(f"{PIPELINE}.>"),
)


def accounts(workers: Iterable[Worker], agents: tuple[TunnelUser, ...] = ()) -> tuple[Account, ...]:
    """The accounts of some workers, of people, and of agents beside targets; the administrator has the broker's own."""
    workers = tuple(workers)
    answering = {each.about: worker.name for worker in workers for each in worker.answerers}
    return (*(account(worker, answering) for worker in workers), OPERATOR, tunnels.account_of(agents))


def account(worker: Worker, answering: Mapping[type[Message], str]) -> Account:
    """The account of one worker; `answering` names the worker that answers questions about a message."""
    rights: list[Right] = []
    for consumer in topology.consumers(worker):
        rights += permissions.consuming(consumer)
    for kind in worker.emits:
        rights += permissions.publishing(f"{PIPELINE}.{kind.stage}.>")
    for kind in worker.recalls:
        rights += permissions.looking_up(topology.PIPELINE_STREAM, f"{PIPELINE}.{kind.stage}.>")
    for told in _told(worker):
        subject = f"{events.EVENTS_SUBJECT}.*.*.*.{told}"
        rights += (*permissions.publishing(subject), *permissions.looking_up(events.EVENTS_STREAM, subject))
    for subject in worker.tells:
        rights += permissions.publishing(subject)
    for stream in topology.received((worker,)):
        rights += (*permissions.looking(stream.name), *permissions.looking_through(stream.name))
    for bucket in topology.buckets(worker):
        rights += permissions.reading(bucket)
    for bucket in topology.owned(worker):
        rights += permissions.writing(bucket)
    for kind in worker.questions:
        rights += permissions.asking(kind.asked_on(), answering[kind])
    if worker.tunnels:
        rights += tunnels.opening()
    rights += permissions.payloads()
    rights += permissions.looking(topology.PIPELINE_STREAM)
    rights += permissions.looking(events.EVENTS_STREAM)
    rights += permissions.looking(DEAD_STREAM)
    return Account(
        name=worker.name,
        summary=_summary(worker),
        rights=tuple(rights),
        own=(*worker.asks, *worker.replies),
        among=_handing_on(worker),
        hears=(tunnels.hearing(),) if worker.tunnels else (),
        serves=(*(each.about.asked_on() for each in worker.answerers), *(each.subject for each in worker.endpoints)),
    )


def _handing_on(worker: Worker) -> tuple[str, ...]:
    """The subjects on which copies of a worker hand messages on to each other."""
    dealt = (handler.consumes for handler in worker.handlers if handler.dealt_by is not None)
    return tuple(f"{COPIES}.{topology.consumer(worker, kind).name}.>" for kind in dealt)


def _told(worker: Worker) -> tuple[str, ...]:
    """The kinds of events that it tells."""
    return tuple(dict.fromkeys(told.kind for kind in worker.states for told in events.kinds_of(kind)))


def _summary(worker: Worker) -> str:
    """One line for people: what the rights are derived from."""
    told = {
        "consumes": [*(kind.stage for kind in worker.consumes), *(each.name for each in worker.receivers)],
        "emits": [kind.stage for kind in worker.emits],
        "recalls": [kind.stage for kind in worker.recalls],
        "tells": [*_told(worker), *worker.tells],
        "answers about": [each.about.stage for each in worker.answerers],
        "serves": [each.name for each in worker.endpoints],
        "asks about": [kind.stage for kind in worker.questions],
        "reads": [bucket.name for bucket in topology.buckets(worker)],
        "opens": ["streams through tunnels"] if worker.tunnels else [],
        "writes": [bucket.name for bucket in topology.owned(worker)],
    }
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in told.items() if names)

"""How much a running system has to do, and how much room there is: what waits for whom, at which rate it is handled,
what is taken of each target. Pure: from two looks at NATS, some time apart."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from services.scheduler.snapshot import Snapshot
from shared.model.decision import Reservation
from shared.model.target import Target

TargetReadiness = Literal["Ready", "Cordoned", "NotReady", "Lost"]
RESOURCES: Final = ("cpu", "memory")


class QueueLook(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer as NATS has it. `delivered` counts deliveries since it was made, `oldest` (seconds) is how long ago
    the oldest message was stored that nobody got yet; None where none waits."""

    worker: str
    consumer: str
    waiting: int
    in_hand: int
    delivered: int
    oldest: float | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What there is at one moment (seconds of a steady clock). `copies`: how many of each worker tell of themselves."""

    at: float
    queues: tuple[QueueLook, ...]
    copies: Mapping[str, int]
    targets: tuple[Target, ...]
    reservations: tuple[tuple[str, Reservation], ...]  # each with the id of its target


class QueueRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A queue for people: messages that wait or are in hand, and deliveries a second since the look before."""

    worker: str
    consumer: str
    copies: int
    waiting: int
    in_hand: int
    per_second: float | None
    oldest_seconds: float | None


class TargetRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A target for people: the share of each resource that is taken, by placements and others; what is left, in base
    units. A resource of which nobody knows how much there is has neither."""

    target: str
    state: TargetReadiness
    placements: int
    taken: dict[str, float]
    free: dict[str, float]

    @property
    def fullest(self) -> float:
        """The largest share; 0 where nothing is known."""
        return max(self.taken.values(), default=0.0)


class LoadPicture(msgspec.Struct, frozen=True, kw_only=True):
    """Queues in pipeline order, targets with the fullest first."""

    queues: tuple[QueueRow, ...]
    targets: tuple[TargetRow, ...]


def picture(look: Look, before: Look | None = None) -> LoadPicture:
    """What a look says; rates are since the look `before`."""
    then = {each.consumer: each for each in before.queues} if before is not None else {}
    seconds = look.at - before.at if before is not None else math.nan
    queues = tuple(
        QueueRow(
            worker=each.worker,
            consumer=each.consumer,
            copies=look.copies.get(each.worker, 0),
            waiting=each.waiting,
            in_hand=each.in_hand,
            per_second=_rate(each, then.get(each.consumer), seconds),
            oldest_seconds=each.oldest,
        )
        for each in look.queues
    )
    targets = sorted(_targets(look.targets, look.reservations), key=lambda row: (-row.fullest, row.target))
    return LoadPicture(queues=queues, targets=tuple(targets))


def _rate(now: QueueLook, then: QueueLook | None, seconds: float) -> float | None:
    """Deliveries a second; None where nothing is known, or the consumer was made anew meanwhile."""
    if then is None or not seconds > 0 or now.delivered < then.delivered:
        return None
    return (now.delivered - then.delivered) / seconds


def _targets(targets: Iterable[Target], reservations: Iterable[tuple[str, Reservation]]) -> Iterable[TargetRow]:
    """Counted as the scheduler counts."""
    snapshot = Snapshot()
    placements: dict[str, set[str]] = {}
    for target, reservation in reservations:
        snapshot.reserve(target, reservation)
        if reservation.placement.name and not reservation.released_at:
            placements.setdefault(target, set()).add(reservation.placement.id)
    for each in targets:
        known = {name: each.allocatable[name] for name in RESOURCES if each.allocatable.get(name)}
        used = {name: snapshot.used(each, name) for name in known}
        yield TargetRow(
            target=each.id.removeprefix("/"),
            state=_state(each),
            placements=len(placements.get(each.id, ())),
            taken={name: used[name] / amount for name, amount in known.items()},
            free={name: amount - used[name] for name, amount in known.items()},
        )


def _state(target: Target) -> TargetReadiness:
    if target.lost_since:
        return "Lost"
    if not target.ready:
        return "NotReady"
    return "Cordoned" if target.unschedulable else "Ready"

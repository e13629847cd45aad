"""Is anything given twice? What was reserved, decided, bound and applied, held against each other. Pure.

At rest nothing may be found. While there is work under way, nothing may be found of the kinds in `ALWAYS`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from shared.api import PlacementDecisionStatus
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources, add, fits

Place = tuple[PlacementRef, str]
"""A placement, and the id of a target."""

Code = Literal[
    "OverReserved",  # a target has less than is reserved in it
    "OverApplied",  # a target has less than what was placed there requests
    "AppliedBeyondReservation",  # something was decided and runs that requests more than is reserved for it
    "AppliedBeyondDecision",  # something runs that requests more than was decided and than is reserved
    "DecidedWithoutReservation",  # a target is selected, and nothing reserved there
    "ReservedWithoutDecision",  # something is reserved that nobody decided and nothing is bound for, for a while
    "AppliedWithoutBinding",  # an ApplySet is in a target, and no PlacementBinding on the hub
    "NotSeen",  # a part of the evidence could not be read
]

ALWAYS: Final[frozenset[Code]] = frozenset(
    {"OverReserved", "OverApplied", "AppliedBeyondReservation", "AppliedBeyondDecision"}
)
UNDECIDED: Final = 60.0
"""Seconds for which something may be reserved that is not decided: a round is a matter of less."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is compared.

    `room` is what targets have for placements: allocatable, less what others use. `reserved` was read after all else,
    `reserved_before` before: what was reserved at either moment was rightly applied between them. `applied` are the
    requests of what is in targets; `sets` says where there is an ApplySet of a placement. `unseen` are parts that could
    not be read, each with the reason.
    """

    now: float
    room: Mapping[str, Resources]
    reserved: Mapping[Place, Reservation]
    reserved_before: Mapping[Place, Reservation]
    decided: Mapping[PlacementRef, PlacementDecisionStatus]
    bound: frozenset[Place]
    applied: Mapping[Place, Resources]
    sets: frozenset[Place]
    unseen: Mapping[str, str]


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be: what, where, whose, and in words."""

    code: Code
    target: str = ""
    placement: str = ""
    message: str


def audit(evidence: Evidence) -> list[Discrepancy]:
    """All findings, the gravest kind first."""
    reserved = {place: each.resources for place, each in evidence.reserved.items() if not each.victims}
    return [
        *_beyond_room("OverReserved", evidence, reserved),  # nothing runs for one that others have to leave for
        *_beyond_room("OverApplied", evidence, evidence.applied),
        *_beyond_reservation(evidence),
        *_decided_without(evidence),
        *_reserved_without(evidence),
        *_without_binding(evidence),
        *(Discrepancy(code="NotSeen", message=f"{part}: {why}") for part, why in sorted(evidence.unseen.items())),
    ]


def _beyond_room(code: Code, evidence: Evidence, taken: Mapping[Place, Resources]) -> Iterable[Discrepancy]:
    """A target may have become smaller than what it was once given: that is no fault of who gave it."""
    by_target: dict[str, list[Resources]] = defaultdict(list)
    for (_, target), resources in taken.items():
        by_target[target].append(resources)
    word = "reserved" if code == "OverReserved" else "applied"
    for target, parts in sorted(by_target.items()):
        room = evidence.room.get(target)
        if room is not None:
            yield from (
                Discrepancy(code=code, target=target, message=f"{total:g} of {room.get(name, 0.0):g} {name} {word}")
                for name, total in sorted(add(*parts).items())
                if not fits({name: total}, room)
            )


def _beyond_reservation(evidence: Evidence) -> Iterable[Discrepancy]:
    for place, resources in sorted(evidence.applied.items()):
        told = [each[place].resources for each in (evidence.reserved, evidence.reserved_before) if place in each]
        for name, amount in sorted(resources.items()):
            most = max((each.get(name, 0.0) for each in told), default=0.0)
            if not fits({name: amount}, {name: most}):
                decided = _decided(evidence, place).get(name, 0.0)
                known = fits({name: amount}, {name: decided})
                code: Code = "AppliedBeyondReservation" if known else "AppliedBeyondDecision"
                words = f"{amount:g} {name} applied, {most:g} reserved, {decided:g} decided"
                yield _finding(code, place, words)


def _decided(evidence: Evidence, place: Place) -> Resources:
    """What was decided to be taken somewhere; nothing where it is not selected."""
    ref, target = place
    status = evidence.decided.get(ref)
    selected = status.selected if status is not None else ()
    return next((each.reserved for each in selected if TargetRef.of(each.target).id == target), {})


def _decided_without(evidence: Evidence) -> Iterable[Discrepancy]:
    for ref, status in sorted(evidence.decided.items()):
        for each in status.selected:
            place = (ref, TargetRef.of(each.target).id)
            if place not in evidence.reserved and place not in evidence.reserved_before:
                yield _finding("DecidedWithoutReservation", place, f"selected at attempt {status.attempt}")


def _reserved_without(evidence: Evidence) -> Iterable[Discrepancy]:
    for place, held in sorted(evidence.reserved.items(), key=lambda item: item[0]):
        ref, target = place
        status = evidence.decided.get(ref)
        selected = {TargetRef.of(each.target).id for each in status.selected} if status else set()
        old = evidence.now - held.reserved_at > UNDECIDED
        if old and not held.until and place not in evidence.bound and target not in selected:
            yield _finding("ReservedWithoutDecision", place, f"reserved at attempt {held.head.attempt}")


def _without_binding(evidence: Evidence) -> Iterable[Discrepancy]:
    for place in sorted(evidence.sets - evidence.bound):
        yield _finding("AppliedWithoutBinding", place, "there is an ApplySet in the target, and no PlacementBinding")


def _finding(code: Code, place: Place, message: str) -> Discrepancy:
    ref, target = place
    return Discrepancy(code=code, target=target, placement=ref.id, message=message)

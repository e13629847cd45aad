"""All that the next step of a placement depends on."""

from collections.abc import Callable, Mapping

import msgspec

from services.controller.core.eviction import Sighting
from services.controller.settings import ControllerSettings
from shared.api import Placement, PlacementDecisionStatus
from shared.hub.history import moved_at
from shared.hub.slices import parts
from shared.model.refs import TargetRef
from shared.model.request import HeadEntry, PreviousChoice, Waiting
from shared.model.resources import Resources, fits


class KnownDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A PlacementDecision, or a slice of one, as far as the controller needs it."""

    attempt: int
    selected: tuple[PreviousChoice, ...] = ()
    reserved: dict[str, Resources] = {}  # by selected target
    moved_at: float = 0.0
    revision: str = ""  # empty where there is only one slice
    slices: int = 1
    input_digest: str = ""
    slice_of: str = ""  # the Placement's name, on all slices but the first
    facts: tuple[str, ...] = ()  # those on a target that decided
    seen: dict[str, str] = {}  # by selected target: a digest of these, as they were


def known_decision(status: PlacementDecisionStatus, slice_of: str = "") -> KnownDecision:
    """What is known by a PlacementDecision, or by a slice of the Placement `slice_of`."""
    chosen = {TargetRef.of(each.target).id: each for each in status.selected}
    return KnownDecision(
        attempt=status.attempt,
        selected=tuple(PreviousChoice(target=target, replicas=each.replicas) for target, each in chosen.items()),
        reserved={target: each.reserved for target, each in chosen.items()},
        moved_at=moved_at(status.history),
        revision=status.revision,
        slices=status.slices,
        input_digest=status.input_digest,
        slice_of=slice_of,
        facts=status.facts,
        seen={target: each.facts for target, each in chosen.items()},
    )


def whole(name: str, first: KnownDecision, find: Callable[[str], KnownDecision | None]) -> KnownDecision:
    """A Placement's decision from its slices; `find` gets one by the object's name.

    Where somebody took one away it says no more than that there is one: it has to be decided anew.
    """
    if first.slices == 1:
        return first
    there = parts(name, first, find)
    if len(there) < first.slices:
        return KnownDecision(attempt=0)
    return msgspec.structs.replace(
        first,
        selected=tuple(choice for each in there for choice in each.selected),
        reserved={target: amount for each in there for target, amount in each.reserved.items()},
        seen={target: digest for each in there for target, digest in each.seen.items()},
    )


def gives_back(old: KnownDecision, new: KnownDecision) -> bool:
    """True if a placement takes less than before of a target that it stays on, which may help those that wait.

    What it leaves is free only once it is cleared there: when its PlacementBinding is gone. Where a decision in slices
    changed, that is taken for granted.
    """
    if old.revision != new.revision:
        return True
    return any(not fits(old.reserved[target], new.reserved[target]) for target in old.reserved.keys() & new.reserved)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One placement, what is known of it, and the world around it, at one moment. Times are seconds since the epoch."""

    placement: Placement | None = None  # None: there is none (any more), as far as the cache knows
    entry: HeadEntry | None = None  # the newest head
    digest: str | None = None  # of its input; None: not looked at, taken for what it was at the newest head
    decision: KnownDecision | None = None
    waiting: Waiting | None = None
    attempts: Mapping[str, int] = {}  # of its PlacementBindings, by target
    targets: Mapping[str, Sighting] = {}  # those that it is decided for or bound in
    world_changed_at: float = 0.0
    answers_take: float = 0.0  # seconds that answers to requests took lately; 0 where none came lately
    may_move: bool = True  # whether this one may leave those of its targets now that are not well
    now: float
    settings: ControllerSettings

    @property
    def clean(self) -> bool:
        """True if nothing is decided for it or bound to a target (any more)."""
        return self.decision is None and not self.attempts

    @property
    def due_within(self) -> float:
        """Seconds within which what was said of it should be answered. Where much waits in the pipeline, what is said
        once more would only wait behind it; so whoever is not answered yet waits for twice as long as others had to.
        """
        return max(self.settings.resync_seconds, 2 * self.answers_take)

    @property
    def overdue(self) -> bool:
        """True if what was last said of it should have been answered by now."""
        return self.entry is not None and self.now - self.entry.requested_at >= self.due_within

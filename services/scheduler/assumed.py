"""What this process has proposed and decision has not answered yet, which counts as if it were reserved.

Many placements that wait together are decided within milliseconds, long before the first of their reservations is seen.
Were nothing assumed meanwhile, all would be proposed for the same best target. kube-scheduler does the same with pods.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef

MOST = 10_000
"""Placements of which something is assumed at a time. A burst that is larger is decided while it comes."""

Place = tuple[str, PlacementRef]
"""A target, and a placement that is assumed to take something there."""


@dataclass
class _Assumption:
    """A proposal: what of it is not reserved yet, and where it is settled."""

    head: Head
    since: float
    targets: Collection[str]
    settled: set[str] = field(default_factory=set)


class Assumed:
    """At most one assumption for each placement: that of its newest proposal, for so many seconds at most.

    Every method that changes something returns where. Times are seconds of one clock.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._by_placement: OrderedDict[PlacementRef, _Assumption] = OrderedDict()  # the oldest first
        self._by_target: dict[str, dict[PlacementRef, Reservation]] = {}

    def __len__(self) -> int:
        return len(self._by_placement)

    @property
    def targets(self) -> Collection[str]:
        """Targets where something is assumed."""
        return self._by_target.keys()

    def at(self, target: str) -> Mapping[PlacementRef, Reservation]:
        """What is assumed to be taken in a target."""
        return self._by_target.get(target, {})

    def of(self, placement: PlacementRef) -> Iterator[tuple[str, Reservation]]:
        """What a placement is assumed to take, by target."""
        known = self._by_placement.get(placement)
        for target in known.targets if known is not None else ():
            if found := self.at(target).get(placement):
                yield target, found

    def propose(self, placement: PlacementRef, head: Head, taken: Mapping[str, Reservation], now: float) -> set[Place]:
        """Assume what a proposal takes by target, in place of what was assumed of the placement; nothing where that is
        newer.
        """
        known = self._by_placement.get(placement)
        if known is not None and head.older_than(known.head):
            return set()
        changed = self._drop(placement)
        if not taken or self._seconds <= 0:
            return changed
        self._by_placement[placement] = _Assumption(head, now, taken.keys())
        for target, reservation in taken.items():
            self._by_target.setdefault(target, {})[placement] = reservation
            changed.add((target, placement))
        while len(self._by_placement) > self._most:
            changed |= self._drop(next(iter(self._by_placement)))
        return changed

    def settle(self, target: str, placement: PlacementRef, head: Head) -> set[Place]:
        """A reservation of the placement was seen, be it of nothing: it speaks for itself from now on.

        An older one says nothing of the proposal; a newer one, that the proposal is past. As soon as there are as many
        of its own as it has targets, alternates stand in for the others.
        """
        known = self._by_placement.get(placement)
        if known is None or head.older_than(known.head):
            return set()
        known.settled.add(target)
        if known.head.older_than(head) or len(known.settled) >= len(known.targets):
            return self._drop(placement)
        return self._take_back(target, placement)

    def expire(self, now: float) -> set[Place]:
        """Nothing is assumed for longer than the bound: a proposal may have been refused, or lost.

        Also where the clock was set back to before something was assumed.
        """
        changed: set[Place] = set()
        while self._by_placement:
            oldest, newest = next(iter(self._by_placement)), next(reversed(self._by_placement))
            if self._by_placement[newest].since > now:
                changed |= self._drop(newest)
            elif self._by_placement[oldest].since + self._seconds <= now:
                changed |= self._drop(oldest)
            else:
                break
        return changed

    def _drop(self, placement: PlacementRef) -> set[Place]:
        known = self._by_placement.pop(placement, None)
        changed: set[Place] = set()
        for target in known.targets if known is not None else ():
            changed |= self._take_back(target, placement)
        return changed

    def _take_back(self, target: str, placement: PlacementRef) -> set[Place]:
        here = self._by_target.get(target, {})
        if here.pop(placement, None) is None:
            return set()
        if not here:
            del self._by_target[target]
        return {(target, placement)}

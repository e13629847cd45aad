"""What placements take in targets: what is reserved there, or assumed to be soon, whichever is more."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from services.scheduler.assumed import MOST, Assumed, Place
from services.scheduler.exact import exact, rounded
from shared.model.decision import Reservation
from shared.model.quota import lies_in
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources


def amount_of(amounts: Mapping[str, float], name: str) -> float:
    """A resource amount; what is absent, negative or not a finite number counts as none."""
    amount = amounts.get(name, 0.0)
    return amount if 0.0 < amount < math.inf else 0.0


class Taken:
    """Reservations as they are seen, and what is assumed for `assumed_seconds` at most.

    Every method that changes something returns the places where another amount is taken now. All sums are exactly
    rounded, so that they do not depend on the order in which reservations came and went.
    """

    def __init__(self, assumed_seconds: float = 0.0, most_assumed: int = MOST) -> None:
        self.reservations: dict[PlacementRef, dict[str, Reservation]] = {}
        self._assumed = Assumed(assumed_seconds, most_assumed)
        self._amounts: dict[str, dict[PlacementRef, Resources]] = {}
        self._sums: dict[str, Counter[str]] = {}  # exact, of a target, by resource
        self._namespaces: dict[tuple[str, str], dict[PlacementRef, None]] = {}
        self._nominations: dict[Place, Reservation] = {}  # what is held for placements that others have to leave for

    def reserve(self, target: str, reservation: Reservation) -> set[Place]:
        """Note what a placement takes in a target, in place of what it took there before; that may be nothing now."""
        placement = reservation.placement
        if reservation.resources:
            self.reservations.setdefault(placement, {})[target] = reservation
            if reservation.victims:
                self._nominations[target, placement] = reservation
        else:
            self._remove(target, placement)
        settled = self._assumed.settle(target, placement, reservation.head)
        return self._count({(target, placement), *settled})

    def release(self, target: str, placement: PlacementRef) -> set[Place]:
        """Note that a placement has no reservation in a target any more."""
        self._remove(target, placement)
        return self._count({(target, placement)})

    def assume(self, placement: PlacementRef, head: Head, asked: Mapping[str, Reservation], now: float) -> set[Place]:
        """Count what was proposed by target as taken, until it is seen to be reserved, or not; see `Assumed`.

        Without effect where decision is at that proposal already, as when a message comes twice.
        """
        if not all(known.head.older_than(head) for known in self.reservations.get(placement, {}).values()):
            return set()
        some = {target: reservation for target, reservation in asked.items() if reservation.resources}
        return self._count(self._assumed.propose(placement, head, some, now))

    def expire(self, now: float) -> set[Place]:
        """Assume no longer what was proposed too long ago."""
        return self._count(self._assumed.expire(now))

    def at(self, target: str) -> Iterator[Reservation]:
        """What is reserved in a target."""
        for placement in self._amounts.get(target, ()):
            if held := self.reservations.get(placement, {}).get(target):
                yield held

    def leaving(self) -> dict[PlacementRef, set[str]]:
        """Who has to leave which targets, for others."""
        found: dict[PlacementRef, set[str]] = {}
        for (target, _), nomination in self._nominations.items():
            for victim in nomination.victims:
                if target in self.reservations.get(victim, {}):
                    found.setdefault(victim, set()).add(target)
        return found

    def awaited(self, placement: PlacementRef) -> list[str]:
        """The targets that a placement has to leave for others, now or later, and holds something in."""
        held = self.reservations.get(placement, {})
        return [
            target for (target, _), each in self._nominations.items() if placement in each.victims and target in held
        ]

    @property
    def assumed_in(self) -> Collection[str]:
        """The targets in which something is assumed to be taken."""
        return self._assumed.targets

    def neighbours(self, workspace: str, namespace: str) -> Iterator[tuple[PlacementRef, Mapping[str, str]]]:
        """Placements of a namespace that take something, with the labels that are the newest."""
        for placement in self._namespaces.get((workspace, namespace), ()):
            newest = max(self._everywhere(placement).values(), key=lambda reservation: reservation.head.attempt)
            yield placement, newest.labels

    def targets_of(self, placement: PlacementRef) -> Collection[str]:
        """Where a placement takes something."""
        return self._everywhere(placement).keys()

    def total(self, target: str, resource: str, but: PlacementRef | None = None, *, assumed: bool = True) -> float:
        """What all placements (`but` one) take of a resource in a target; without `assumed` only what is reserved."""
        amounts = self._amounts.get(target)
        if amounts is None:  # as in most targets
            return 0.0
        total = self._sums[target][resource]
        if but is not None and but in amounts:
            total -= exact(amount_of(amounts[but], resource))
        for placement in () if assumed else self._assumed.at(target):
            if placement != but:
                total += exact(amount_of(self._reserved(target, placement), resource))
                total -= exact(amount_of(amounts[placement], resource))
        return rounded(total)

    def total_below(
        self, target: str, path: str, resource: str, but: PlacementRef | None = None, *, assumed: bool = True
    ) -> float:
        """The same of the placements that a quota for a workspace path is about."""
        return math.fsum(
            amount_of(amounts if assumed else self._reserved(target, placement), resource)
            for placement, amounts in self._amounts.get(target, {}).items()
            if placement != but and lies_in(placement.workspace, path)
        )

    def _reserved(self, target: str, placement: PlacementRef) -> Resources:
        held = self.reservations.get(placement, {}).get(target)
        return held.resources if held is not None else {}

    def _everywhere(self, placement: PlacementRef) -> dict[str, Reservation]:
        """What a placement takes by target; what is assumed is newer than what is reserved. Not to be written to."""
        reserved = self.reservations.get(placement, {})
        return {**reserved, **dict(self._assumed.of(placement))} if self._assumed else reserved

    def _remove(self, target: str, placement: PlacementRef) -> None:
        held = self.reservations.get(placement, {})
        held.pop(target, None)
        self._nominations.pop((target, placement), None)
        if not held:
            self.reservations.pop(placement, None)

    def _count(self, places: Iterable[Place]) -> set[Place]:
        """Bring into the sums what is taken by now in these places; those where that is another amount."""
        changed = set()
        for target, placement in places:
            assumed = self._assumed.at(target).get(placement)
            before, now = self._amounts.get(target, {}).get(placement, {}), self._reserved(target, placement)
            if assumed is not None:
                now = _most(now, assumed.resources)
            if now:
                self._amounts.setdefault(target, {})[placement] = now
            elif before:
                del self._amounts[target][placement]
            if now != before:
                changed.add((target, placement))
                self._add(target, before, now)
            self._note(placement)
        return changed

    def _add(self, target: str, before: Resources, now: Resources) -> None:
        sums = self._sums.setdefault(target, Counter())
        for name in before.keys() | now.keys():
            sums[name] += exact(amount_of(now, name)) - exact(amount_of(before, name))
        if not self._amounts[target]:
            del self._amounts[target], self._sums[target]

    def _note(self, placement: PlacementRef) -> None:
        """Keep by namespace who takes something anywhere."""
        namespace = (placement.workspace, placement.namespace)
        known = self._namespaces.setdefault(namespace, {})
        if self._everywhere(placement):
            known[placement] = None
        else:
            known.pop(placement, None)
            if not known:
                del self._namespaces[namespace]


def _most(some: Resources, others: Resources) -> Resources:
    """Of each resource whichever is more."""
    return {name: max(amount_of(some, name), amount_of(others, name)) for name in some.keys() | others.keys()}

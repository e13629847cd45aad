"""How much a placement asks for: in one target with all its replicas, or with some of them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from shared.columns import Floats, Ints
from shared.hub.kinds import Kind, kind_named
from shared.model.request import Request, WorkloadObject
from shared.model.resources import Resources, add

PODS = "pods"
MOST_ROOM = 1 << 24
"""Replicas of which a target has room for any number, for all that anybody may ask for."""


def _positive(requests: Resources) -> Resources:
    return {name: amount for name, amount in requests.items() if 0.0 < amount < math.inf}


def _times(requests: Resources, factor: float) -> Resources:
    return {name: amount * factor for name, amount in requests.items()}


def _of_one(workload: WorkloadObject, kind: Kind) -> Resources:
    """The request of one replica, its pod counted in."""
    asked = _positive(workload.requests)
    return {PODS: 1.0, **asked} if workload.replicas is not None or kind.pods is not None else asked


class Demand:
    """The demand of a placement. Nothing here depends on targets.

    `replicas` is the number that is divided: that of the workload with most replicas, None where nothing has any.
    Workloads with fewer replicas are divided in the same proportion, rounded up in each target; `uniform` says that
    there are none of these. Where replicas are divided, a target gets `at_least` so many.
    """

    def __init__(self, workload: Sequence[WorkloadObject], divided: bool, at_least: int = 1) -> None:
        counts = {each.replicas for each in workload if each.replicas is not None}
        self.divided = divided
        self.at_least = at_least
        self.replicas: int | None = max(counts, default=None)
        self.uniform = len(counts) == 1
        self._each: list[tuple[int | None, Resources]] = []
        self._known: dict[int, Resources] = {}
        self.on_every_node: Resources = {}
        """The requests of the DaemonSets on each node of a target, whatever its share of the replicas."""
        for each in workload:
            kind = kind_named(each.api_version, each.kind)
            of_one = _of_one(each, kind)
            if each.on_every_node or kind.on_every_node:
                self.on_every_node = add(self.on_every_node, of_one)
            else:
                self._each.append((each.replicas, of_one))
        self.total = self.of(self.replicas or 0)
        """The amounts that one target must give where it runs everything, besides what runs on every node."""
        self.least = self.of(min(at_least, self.replicas)) if divided and self.replicas else self.total
        """The least that is of any use: everything, or its fewest replicas where they are divided."""
        self.least_needed = [name for name, amount in self.least.items() if 0.0 < amount < math.inf]
        """The resources of which that is more than nothing."""

    def of(self, replicas: int) -> Resources:
        """The amounts for this many of the replicas in one target, besides what runs on every node."""
        total = self._known.get(replicas)
        if total is None:
            whole = self.replicas or 1
            total = self._known[replicas] = {}
            for count, of_one in self._each:
                times = 1 if count is None else math.ceil(replicas * count / whole)
                for name, amount in of_one.items():
                    total[name] = total.get(name, 0.0) + amount * times
        return total

    def reserve(self, replicas: int | None, nodes: float) -> Resources:
        """The amounts reserved in a target with so many nodes: its share of the replicas (None: everything)."""
        share = self.of(replicas) if replicas is not None and self.divided else self.total
        return add(share, _times(self.on_every_node, nodes)) if self.on_every_node else share

    def capacity(self, spare: dict[str, Floats], targets: int) -> Ints:
        """How many replicas each target has room for, at most `MOST_ROOM`; `spare` by resource, one value per target,
        without what runs on every node.
        """
        spare = {name: spare[name] for name, amount in self.total.items() if amount > 0}
        if self.uniform:
            return self._quotient(spare, targets)
        low, high = np.zeros(targets, np.intp), np.full(targets, MOST_ROOM, np.intp)
        while (low < high).any():
            middle = (low + high + 1) // 2
            fits = np.ones(targets, np.bool_)
            for name, amounts in spare.items():
                fits &= amounts >= self._asked(name, middle)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        return low

    def _quotient(self, spare: dict[str, Floats], targets: int) -> Ints:
        """The same where all workloads have as many replicas: nothing is rounded, and one division answers."""
        room = np.full(targets, float(MOST_ROOM))
        fits_whole = np.ones(targets, np.bool_)
        once, one = self.of(0), self.of(1)
        for name, amounts in spare.items():
            fits_whole &= amounts >= self.total[name]
            always = once.get(name, 0.0)
            each = one[name] - always
            if each > 0:
                np.minimum(room, (amounts - always if always else amounts) / each, out=room)
            else:
                room[~(amounts >= always)] = 0.0
        np.maximum(np.floor(room, out=room), fits_whole * float(self.replicas or 0), out=room)
        return room.astype(np.intp)

    def _asked(self, name: str, replicas: Ints) -> Floats:
        """What a target must give of a resource, for one number of replicas per target; see `of`."""
        total: Floats = np.zeros(len(replicas))
        for count, of_one in self._each:
            if name in of_one:
                total += of_one[name] * (1 if count is None else -(-replicas * count // (self.replicas or 1)))
        return total


def demands_of(request: Request) -> list[Demand]:
    """What a request asks for: where no override holds, and in the order of its variants with each set of them."""
    replicas = request.spec.replicas
    return [
        Demand(workload, replicas.division != "Duplicated", replicas.least)
        for workload in (request.workload, *(each.workload for each in request.variants))
    ]


class Demands:
    """What a placement asks for in each candidate, which differs where its overrides differ.

    `base` is what it asks for where none holds; `kinds` are all there are, and `which` says for each candidate which of
    them it is (None: there is but one). Replicas that are divided are the same in all of them.
    """

    def __init__(self, kinds: Sequence[Demand], which: Ints | None = None) -> None:
        self.base = kinds[0]
        self.kinds = tuple(kinds)
        self.which = which
        self.needed = sorted({name for kind in kinds for name in (*kind.on_every_node, *kind.least_needed)})
        """The resources that a target must have to be of any use, in the order of their names."""
        self.anywhere_on_every_node = any(kind.on_every_node for kind in kinds)
        """Whether anything is asked for on each node of some target."""
        self.resources = sorted({name for kind in kinds for name in kind.total})
        """The resources that are asked for, but for what runs on every node."""

    @property
    def divided(self) -> int | None:
        """How many replicas are divided; None where everything runs in each target, or there is nothing to divide."""
        return (self.base.divided and self.base.replicas) or None

    def only(self, places: Ints) -> "Demands":
        """The same for fewer candidates."""
        return self if self.which is None else Demands(self.kinds, self.which[places])

    def at(self, position: int) -> Demand:
        """What is asked for in one candidate."""
        return self.base if self.which is None else self.kinds[self.which[position]]

    def each(self, amount: Callable[[Demand], float]) -> float | Floats:
        """A number of each candidate's demand: a column, or one for all of them."""
        if self.which is None:
            return amount(self.base)
        column: Floats = np.array([amount(kind) for kind in self.kinds], np.float64)[self.which]
        return column

    def least(self, resource: str) -> float | Floats:
        """The least of a resource that a target must give, besides what runs on every node; -inf where it need not even
        have any.
        """

        def of(kind: Demand) -> float:
            amount = kind.least.get(resource, 0.0)
            return amount if amount > 0 or resource in kind.on_every_node else -math.inf

        return self.each(of)

    def total(self, resource: str) -> float | Floats:
        """How much of a resource all replicas ask for."""
        return self.each(lambda kind: kind.total.get(resource, 0.0))

    def of(self, resource: str, replicas: int) -> float | Floats:
        """How much of a resource so many of the replicas ask for."""
        return self.each(lambda kind: kind.of(replicas).get(resource, 0.0))

    def on_every_node(self, resource: str) -> float | Floats:
        """How much of a resource is asked for on each node."""
        return self.each(lambda kind: kind.on_every_node.get(resource, 0.0))

    def capacity(self, room: Callable[[str], Floats], targets: int) -> Ints:
        """How many replicas each candidate has room for; `room` gives what a resource's column leaves for them."""
        spare = {resource: room(resource) for resource in self.resources}
        if self.which is None:
            return self.base.capacity(spare, targets)
        found = np.zeros(targets, np.intp)
        for number, kind in enumerate(self.kinds):
            (places,) = (self.which == number).nonzero()
            if len(places):
                found[places] = kind.capacity({name: column[places] for name, column in spare.items()}, len(places))
        return found

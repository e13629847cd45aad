"""How much a placement asks for: in one target with all its replicas, or with some of them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from shared.columns import Floats, Ints
from shared.hub.kinds import kind_named
from shared.model.request import Request, WorkloadObject
from shared.model.resources import TOLERANCE, Resources, add

PODS = "pods"


def _positive(requests: Resources) -> Resources:
    return {name: amount for name, amount in requests.items() if 0.0 < amount < math.inf}


def _times(requests: Resources, factor: float) -> Resources:
    return {name: amount * factor for name, amount in requests.items()}


def _on_every_node(workload: WorkloadObject) -> bool:
    return kind_named(workload.api_version, workload.kind).on_every_node


def _of_one(workload: WorkloadObject) -> Resources:
    """The request of one replica, its pod counted in."""
    has_pods = workload.replicas is not None or kind_named(workload.api_version, workload.kind).pods is not None
    return {**({PODS: 1.0} if has_pods else {}), **_positive(workload.requests)}


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
        self._each = [(each.replicas, _of_one(each)) for each in workload if not _on_every_node(each)]
        self._known: dict[int, Resources] = {}
        self.on_every_node = add(*(_of_one(each) for each in workload if _on_every_node(each)))
        """The requests of the DaemonSets on each node of a target, whatever its share of the replicas."""
        self.total = self.of(self.replicas or 0)
        """The amounts that one target must give where it runs everything, besides what runs on every node."""
        self.least = self.of(min(at_least, self.replicas)) if divided and self.replicas else self.total
        """The least that is of any use: everything, or its fewest replicas where they are divided."""

    def of(self, replicas: int) -> Resources:
        """The amounts for this many of the replicas in one target, besides what runs on every node."""
        if replicas not in self._known:
            whole = self.replicas or 1
            self._known[replicas] = add(
                *(
                    _times(of_one, 1 if count is None else math.ceil(replicas * count / whole))
                    for count, of_one in self._each
                )
            )
        return self._known[replicas]

    def reserve(self, replicas: int | None, nodes: float) -> Resources:
        """The amounts reserved in a target with so many nodes: its share of the replicas (None: everything)."""
        share = self.of(replicas) if replicas is not None and self.divided else self.total
        return add(share, _times(self.on_every_node, nodes)) if self.on_every_node else share

    def capacity(self, free: dict[str, Floats], targets: int) -> Ints:
        """How many replicas each target has room for, at most `replicas`; `free` by resource, one value per target,
        without what runs on every node.
        """
        whole = self.replicas or 0
        spare = {name: free[name] * (1 + TOLERANCE) + TOLERANCE for name, amount in self.total.items() if amount > 0}
        if self.uniform:
            return self._quotient(spare, targets)
        low, high = np.zeros(targets, np.intp), np.full(targets, whole, np.intp)
        while (low < high).any():
            middle = (low + high + 1) // 2
            fits = np.ones(targets, np.bool_)
            for name, amounts in spare.items():
                fits &= amounts >= self._asked(name, middle)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        return low

    def _quotient(self, spare: dict[str, Floats], targets: int) -> Ints:
        """The same where all workloads have as many replicas: nothing is rounded, and one division answers."""
        room = np.full(targets, float(self.replicas or 0))
        fits_whole = np.ones(targets, np.bool_)
        once, one = self.of(0), self.of(1)
        for name, amounts in spare.items():
            fits_whole &= amounts >= self.total[name]
            each = one[name] - once.get(name, 0.0)
            if each > 0:
                room = np.minimum(room, (amounts - once.get(name, 0.0)) / each)
            else:
                room = np.where(amounts >= once[name], room, 0.0)
        return np.where(fits_whole, self.replicas or 0, np.maximum(np.floor(room), 0.0)).astype(np.intp)

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
        self.needed = sorted({name for kind in kinds for name in (*kind.on_every_node, *_positive(kind.least))})
        """The resources that a target must have to be of any use, in the order of their names."""
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
        free = {resource: room(resource) for resource in self.resources}
        if self.which is None:
            return self.base.capacity(free, targets)
        found = np.zeros(targets, np.intp)
        for number, kind in enumerate(self.kinds):
            (places,) = (self.which == number).nonzero()
            if len(places):
                found[places] = kind.capacity({name: column[places] for name, column in free.items()}, len(places))
        return found

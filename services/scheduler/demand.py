"""How much a placement asks for: in one target with all its replicas, or with some of them."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.scheduler.snapshot import Floats, Ints
from shared.model import TOLERANCE, Request, Resources, WorkloadObject, add

PODS = "pods"
_RUN_AS_ONE_POD = frozenset({"Pod", "Job", "CronJob"})
_RUNS_ON_EVERY_NODE = "DaemonSet"


def _positive(requests: Resources) -> Resources:
    return {name: amount for name, amount in requests.items() if 0.0 < amount < math.inf}


def _times(requests: Resources, factor: float) -> Resources:
    return {name: amount * factor for name, amount in requests.items()}


def _of_one(workload: WorkloadObject) -> Resources:
    """What one replica asks for, its pod counted in."""
    is_pod = workload.replicas is not None or workload.kind in {*_RUN_AS_ONE_POD, _RUNS_ON_EVERY_NODE}
    return {**({PODS: 1.0} if is_pod else {}), **_positive(workload.requests)}


@dataclass(frozen=True)
class Demand:
    """What a placement asks for.

    `replicas` is the number that is divided: that of the workload with most replicas, None where nothing has any.
    Workloads with fewer replicas are divided in the same proportion, rounded up in each target.
    """

    workload: tuple[WorkloadObject, ...]
    divided: bool
    at_least: int = 1
    """Fewest replicas that a target gets where they are divided."""

    @cached_property
    def replicas(self) -> int | None:
        counts = [each.replicas for each in self.workload if each.replicas is not None]
        return max(counts) if counts else None

    @cached_property
    def uniform(self) -> bool:
        """Whether everything that has replicas has the same number of them."""
        return len({each.replicas for each in self.workload} - {None}) == 1

    @cached_property
    def total(self) -> Resources:
        """What one target must give where it runs everything, besides what runs on every node."""
        return self.of(self.replicas or 0)

    @cached_property
    def _each(self) -> list[tuple[int | None, Resources]]:
        """Replicas of each workload but those that run on every node, and what one of them asks for."""
        return [(each.replicas, _of_one(each)) for each in self.workload if each.kind != _RUNS_ON_EVERY_NODE]

    @cached_property
    def on_every_node(self) -> Resources:
        """What the DaemonSets ask for on each node of a target, whatever its share of the replicas."""
        return add(*(_of_one(each) for each in self.workload if each.kind == _RUNS_ON_EVERY_NODE))

    @cached_property
    def _known(self) -> dict[int, Resources]:
        return {}

    def of(self, replicas: int) -> Resources:
        """What a target must give that runs this many of the replicas, besides what runs on every node."""
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
        """What the placement takes in a target with so many nodes: its share of the replicas (None: everything)."""
        share = self.of(replicas) if replicas is not None and self.divided else self.total
        return add(share, _times(self.on_every_node, nodes)) if self.on_every_node else share

    @cached_property
    def least(self) -> Resources:
        """What a target must give to be of any use: everything, or its fewest replicas where they are divided."""
        return self.of(min(self.at_least, self.replicas)) if self.divided and self.replicas else self.total

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
                room = np.minimum(room, np.floor((amounts - once.get(name, 0.0)) / each))
            else:
                room = np.where(amounts >= once[name], room, 0.0)
        return np.where(fits_whole, self.replicas or 0, np.maximum(room, 0.0)).astype(np.intp)

    def _asked(self, name: str, replicas: Ints) -> Floats:
        """What a target must give of a resource, for one number of replicas per target; see `of`."""
        total: Floats = np.zeros(len(replicas))
        for count, of_one in self._each:
            if name in of_one:
                total += of_one[name] * (1 if count is None else -(-replicas * count // (self.replicas or 1)))
        return total


def demand_of(request: Request) -> Demand:
    """What a request asks for."""
    replicas = request.spec.replicas
    return Demand(request.workload, replicas.division != "Duplicated", replicas.least)

"""A cluster is one cluster, whatever number of SyncTargets offer it: the first one holds it, the others are refused.

Its capacity is reserved per SyncTarget, so that two for one cluster would give all of it away twice. Which cluster is
meant says the uid of its namespace `kube-system`. All copies of the worker judge by the inventory, which they share:

- Who holds a cluster keeps it. Of two that were recorded at the same moment, the SyncTarget that was made first holds
  it, then the one whose id comes first.
- When the holder is gone, or offers another cluster by now, the next in that order takes over, after a while: a bucket
  that was emptied does not show at once who held what, and what the last one placed has to be removed.
"""

from collections.abc import Callable

import msgspec

from services.discovery.projection import Projection
from shared.model.target import Target

DUPLICATE = "offering the same cluster as another"
UNIDENTIFIED = "of unknown identity"


class Clusters:
    """Who offers which cluster, as the inventory has it or is about to have it."""

    def __init__(self, inventory: Projection[Target], clock: Callable[[], float], patience: float) -> None:
        """`patience`: seconds for which a cluster has no holder before another SyncTarget takes it over."""
        self._inventory = inventory
        self._clock = clock
        self._patience = patience
        self._clusters: dict[str, str] = {}  # by key of the target
        self._offers: dict[str, set[str]] = {}  # keys by cluster
        self._vacant: dict[str, float] = {}  # by cluster: since when it has no holder, where somebody waits for it

    def note(self, key: str) -> None:
        """An entry of the inventory changed."""
        target = self._inventory.latest(key)
        cluster = target.cluster if target is not None else ""
        before = self._clusters.get(key, "")
        if before == cluster:
            return
        if before:
            del self._clusters[key]
            self._offers[before].discard(key)
            if not self._offers[before]:
                del self._offers[before]
                self._vacant.pop(before, None)
        if cluster:
            self._clusters[key] = cluster
            self._offers.setdefault(cluster, set()).add(key)

    def rivals(self, target: Target) -> list[Target]:
        """All others that offer the same cluster."""
        found = (self._inventory.latest(key) for key in self._offers.get(target.cluster, ()))
        return [each for each in found if each and each.cluster == target.cluster and each.id != target.id]

    def contested(self, target: Target) -> bool:
        """True if it holds a cluster that another one holds as well: two copies of the worker wrote that at once."""
        return bool(target.cluster) and not target.duplicate and any(not each.duplicate for each in self.rivals(target))

    def holder(self, target: Target) -> Target | None:
        """The other SyncTarget that holds its cluster; None where it holds that itself, or nobody does (yet)."""
        return min((each for each in self.rivals(target) if not each.duplicate), key=_order, default=None)

    def judged(self, target: Target, previous: Target | None, claimed: str = "") -> Target:
        """`target` with whether it is a duplicate; who is one, or is not known by its cluster, is not ready.

        `previous` is the entry so far, `claimed` the cluster that its SyncTarget's status says it holds: that counts
        where there is no entry, and only against who was made later, since whoever offers a cluster can write it.

        It may be asked any number of times before what it says is stored.
        """
        if not target.cluster:
            trusted = previous is not None and previous.ready and not previous.cluster  # by a version that did not ask
            return target if trusted else _refused(target, UNIDENTIFIED)
        if previous is None:
            known = claimed == target.cluster
        else:
            known = (previous.uid, previous.cluster) == (target.uid, target.cluster)
        rivals = self.rivals(target)
        holders = [each for each in rivals if not each.duplicate]
        if target.duplicate or (rivals and not known):
            duplicate = bool(holders) or min([*rivals, target], key=_order) is not target or not self._due(target)
        else:
            duplicate = min([*holders, target], key=_order) is not target
        if holders or not (duplicate or target.duplicate):  # who takes over does so once that is stored
            self._vacant.pop(target.cluster, None)
        target = msgspec.structs.replace(target, duplicate=duplicate)
        return _refused(target, DUPLICATE) if duplicate else target

    def _due(self, target: Target) -> bool:
        """True if nobody has held its cluster for long enough."""
        now = self._clock()
        return now - self._vacant.setdefault(target.cluster, now) >= self._patience


def _order(target: Target) -> tuple[float, str]:
    return target.created, target.id


def _refused(target: Target, reason: str) -> Target:
    return msgspec.structs.replace(target, ready=False, reason=reason) if target.ready else target

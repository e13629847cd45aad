"""The quotas over all targets that are in force, and how much of each is charged, as two buckets have them."""

from collections.abc import AsyncIterator

from shared.broker.table import View
from shared.model.decision import Reservation
from shared.model.quota import WorkspaceQuota, enclosing
from shared.model.refs import PlacementRef
from shared.model.resources import Resources, add, subtract

SUMMED_AGAIN = 1000
"""Changes after which a sum is made anew, so that what rounding leaves in it stays small."""
NOBODY = PlacementRef(workspace="", namespace="", name="")
"""Under this name a quota has an entry once all that is used of it is charged."""


class Quotas:
    """The quotas in force, by whom they bound."""

    def __init__(self, view: View[WorkspaceQuota]) -> None:
        self.view = view
        self._changed = -1
        self._by_path: dict[str, list[WorkspaceQuota]] = {}

    def all(self) -> list[WorkspaceQuota]:
        """All of them."""
        return list(self.view.values())

    def of(self, placement: PlacementRef) -> list[WorkspaceQuota]:
        """Those that bound a placement, in an order that is always the same."""
        if self._changed != self.view.changed:
            self._changed, self._by_path = self.view.changed, {}
            for each in sorted(self.view.values(), key=lambda each: each.place):
                self._by_path.setdefault(each.bounds, []).append(each)
        if not self._by_path:
            return []
        return [
            each
            for path in enclosing(placement.workspace)
            for each in self._by_path.get(path, ())
            if each.covers(placement)
        ]


class Charged:
    """How much is charged, by the place of the quota; `follow` keeps it current."""

    def __init__(self, view: View[Reservation]) -> None:
        self._view = view
        self._entries: dict[str, dict[str, Resources]] = {}
        self._totals: dict[str, Resources] = {}
        self._changes = 0

    async def follow(self) -> AsyncIterator[tuple[set[str], bool]]:
        """The places of which something else is charged than before, and whether less, for ever."""
        async for keys in self._view.changes():
            places, less = set(), False
            for key in keys:
                place = ".".join(key.split(".")[:2])
                less |= self._note(place, key)
                places.add(place)
            yield places, less

    def _note(self, place: str, key: str) -> bool:
        known = self._entries.setdefault(place, {})
        entry, before = self._view.get(key), known.pop(key, {})
        after = {} if entry is None else entry.resources
        if entry is not None:
            known[key] = after
        if not known:
            self._entries.pop(place)
            self._totals.pop(place, None)
            return True
        self._changes += 1
        if self._changes % SUMMED_AGAIN:
            self._totals[place] = add(subtract(self._totals.get(place, {}), before), after)
        else:
            self._totals[place] = add(*known.values())
        return any(amount > after.get(name, 0.0) for name, amount in before.items())

    def total(self, quota: WorkspaceQuota) -> Resources:
        """All that is charged to a quota."""
        return self._totals.get(quota.place, {})

    def own(self, quota: WorkspaceQuota, placement: PlacementRef) -> Resources:
        """What a placement is charged with."""
        return self._entries.get(quota.place, {}).get(f"{quota.place}.{placement.key}", {})

    def counted(self, quota: WorkspaceQuota) -> bool:
        """Whether all that is used of a quota is charged."""
        return f"{quota.place}.{NOBODY.key}" in self._entries.get(quota.place, {})

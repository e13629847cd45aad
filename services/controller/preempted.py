"""Which placements have to leave targets for others, as the bucket of victims says."""

from collections.abc import Callable, Mapping

from shared.broker.table import View
from shared.model.preemption import Victim
from shared.model.refs import PlacementRef


class Victims:
    """Who has to leave where, by placement; as many as there are entries, which as a rule are none."""

    def __init__(self, view: View[Victim]) -> None:
        self._view = view
        self._by_key: dict[str, Victim] = {}
        self._of: dict[PlacementRef, dict[str, Victim]] = {}

    def of(self, ref: PlacementRef) -> Mapping[str, Victim]:
        """The targets that a placement has to leave for others, by id."""
        return self._of.get(ref, {})

    async def follow(self, look_at: Callable[[PlacementRef], None], freed: Callable[[], None]) -> None:
        """Keep them current, for ever: who has to leave is looked at, and who waits for that is once they have left."""
        async for keys in self._view.changes():
            for key in keys:
                before, now = self._by_key.pop(key, None), self._view.get(key)
                if before is not None:
                    self._forget(before)
                if now is not None:
                    self._by_key[key] = now
                    self._of.setdefault(now.placement, {})[now.target] = now
                    look_at(now.placement)
                elif before is not None:
                    freed()
                    for each in before.by:
                        look_at(each)

    def _forget(self, victim: Victim) -> None:
        known = self._of.get(victim.placement, {})
        known.pop(victim.target, None)
        if not known:
            self._of.pop(victim.placement, None)

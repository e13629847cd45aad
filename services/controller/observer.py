"""Sees placements as the caches have them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.controller.core.eviction import Expelling, Sighting, expelling
from services.controller.core.observation import Observation
from services.controller.settings import ControllerSettings
from services.controller.workspace import WorkspaceWatch
from shared.api import Placement
from shared.broker.table import View
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Target


@dataclass
class Observer:
    """Sees placements as the caches have them, and remembers since when targets are as they are."""

    settings: ControllerSettings
    heads: View[HeadEntry]
    waiting: View[Waiting]
    inventory: View[Target]
    clock: Callable[[], float]
    world_changed_at: float = 0.0
    _missing: dict[str, float] = field(default_factory=dict)
    _expelling: dict[str, Expelling] = field(default_factory=dict)

    def note_world(self) -> None:
        """Something changed that may help those that wait: a target, a workspace, or capacity that was given back."""
        self.world_changed_at = self.clock()

    def observe(
        self,
        watch: WorkspaceWatch,
        ref: PlacementRef,
        placement: Placement | None,
        entry: HeadEntry | None,
        *,
        key: str,
        digest: str | None = None,
    ) -> Observation:
        """A placement with its newest head, under its `key`, and all that the caches know besides."""
        now, decision, attempts = self.clock(), watch.decision(ref), watch.attempts(ref)
        targets = {target: self.sight(target, now) for target in attempts}
        for choice in decision.selected if decision is not None else ():
            if choice.target not in targets:
                targets[choice.target] = self.sight(choice.target, now)
        return Observation(
            placement=placement,
            entry=entry,
            digest=digest,
            decision=decision,
            waiting=self.waiting.get(key),
            attempts=attempts,
            targets=targets,
            world_changed_at=self.world_changed_at,
            now=now,
            settings=self.settings,
        )

    def sight(self, target: str, now: float) -> Sighting:
        """A target by id, as it is now; from when it is first seen so, it is known to be missing or to expel."""
        known = self.inventory.get(TargetRef.parse(target).key)
        if known is None:
            return Sighting(missing_since=self._missing.setdefault(target, now))
        self._missing.pop(target, None)
        found = expelling(known, self._expelling.pop(target, {}), now)
        if found:
            self._expelling[target] = found
        return Sighting(target=known, expelling=found)

"""Sees placements as the caches have them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from services.controller.answers import AnswerTimes
from services.controller.core.brake import Braked, BrakeSettings, brake
from services.controller.core.eviction import Expelling, Sighting, expelling
from services.controller.core.observation import Observation
from services.controller.moves import Moves
from services.controller.preempted import Victims
from services.controller.settings import ControllerSettings
from services.controller.workspace import WorkspaceWatch
from shared.api import Placement
from shared.broker.table import View
from shared.hub.terms import is_closed
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Target

log = logging.getLogger("moorage.controller")


@dataclass
class Observer:
    """Sees placements as the caches have them, and remembers since when targets are as they are."""

    settings: ControllerSettings
    heads: View[HeadEntry]
    waiting: View[Waiting]
    inventory: View[Target]
    clock: Callable[[], float]
    moves: Moves
    answers: AnswerTimes
    victims: Victims
    world_changed_at: float = 0.0
    _missing: dict[str, float] = field(default_factory=dict)
    _expelling: dict[str, Expelling] = field(default_factory=dict)
    _braked: dict[str, Braked] = field(default_factory=dict)
    _braked_at: int = -1

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
        targets = {target: self.sight(target, now, ref) for target in attempts}
        for choice in decision.selected if decision is not None else ():
            if choice.target not in targets:
                targets[choice.target] = self.sight(choice.target, now, ref)
        ill = [target for target, sighting in targets.items() if not sighting.well]
        return Observation(
            placement=placement,
            entry=entry,
            digest=digest,
            decision=decision,
            waiting=self.waiting.get(key),
            attempts=attempts,
            targets=targets,
            world_changed_at=self.world_changed_at,
            answers_take=self.answers.take(now),
            may_move=self.moves.left(ref.workspace) >= 1 or self.moves.at_once(ill),
            now=now,
            settings=self.settings,
        )

    def sight(self, target: str, now: float, ref: PlacementRef) -> Sighting:
        """A target by id, as it is now for a placement.

        From when it is first seen so, it is known to be missing or to expel.
        """
        known = self.inventory.get(TargetRef.parse(target).key)
        if known is None:
            return Sighting(missing_since=self._missing.setdefault(target, now))
        self._missing.pop(target, None)
        found = expelling(known, self._expelling.pop(target, {}), now)
        if found:
            self._expelling[target] = found
        shut, victim = is_closed(known, ref.workspace, ref.namespace), self.victims.of(ref).get(target)
        return Sighting(
            target=known,
            expelling=found,
            braked=self.braking().get(target),
            closed=shut,
            preempted=victim.said_of(ref) if victim is not None else "",
        )

    def braking(self) -> dict[str, Braked]:
        """What the brake holds, looked at once per state of the inventory. Its coming and going is logged."""
        if self.inventory.revision != self._braked_at:
            self._braked_at = self.inventory.revision
            settings = BrakeSettings(share=self.settings.brake_share, window=self.settings.brake_window_seconds)
            before = {why.scope for why in self._braked.values()}
            self._braked = brake([each.value for each in self.inventory.entries.values()], settings)
            scopes = {why.scope: why for why in self._braked.values()}
            for scope in scopes.keys() - before:
                facts = {"scope": scope, "lost": scopes[scope].lost, "total": scopes[scope].total}
                log.error("too many targets were lost at once: nothing is moved away from them", extra=facts)
            for scope in before - scopes.keys():
                log.warning("targets may be left again", extra={"scope": scope})
        return self._braked

"""Where nothing fits: who would have to leave for it, with the least harm. A pure function, as `schedule` is."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.core import Outcome, schedule
from services.scheduler.harm import Harm, PossibleVictim, harm_of, least_harm, no_less_than
from services.scheduler.missing import MORE_WOULD_DO
from services.scheduler.snapshot import Snapshot
from shared.model.decision import Preemption, Refusal, Reservation
from shared.model.reasons import RefusalCode, Stage
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import Preempting, Request

MOST_TARGETS = 16
"""Targets that are tried, those with the least harm first."""
MOST_LOOKED_AT = 500
"""Targets that are looked at."""
MOST_COMPARED = 32
"""Targets of which the harm is worked out, those first that could do the least."""
MOST_OF_TARGET = 64
"""Placements of one target, those of the lowest rank, that may be asked to leave it."""
MOST_VICTIMS = 128
"""Placements in all of which it is tried how many of them have to leave."""
NAMED = 3
"""Targets that the sentence names."""


def propose(request: Request, snapshot: Snapshot, targets: Sequence[str], **known: Any) -> Outcome:
    """As `schedule`, which gets what else is `known`; where nothing fits and the request may have others leave, the
    refusal says who would have to.

    Room that is held for it counts as free. While those still have to leave that were asked to for the same wish,
    nobody else is asked.
    """
    nomination = request.placement.nomination
    own = dict(snapshot.taken.reservations.get(nomination, {}))

    def attempt() -> Outcome:
        return schedule(request, snapshot, targets, **known)

    with snapshot.without(nomination) if own else nullcontext():
        found = attempt()
        refusal, preempting = found.proposal.refusal, request.preempting
        if refusal is None or preempting is None or refusal.code not in MORE_WOULD_DO:
            return found
        if asked := sorted({target for target, _ in _awaited(request, snapshot, own)}):
            return _waiting(found, refusal, f"it waits for others to leave {_named(asked)}")
        search = _Search(request, preempting, snapshot, attempt, snapshot.taken.leaving())
        preemption = search.find(found) if found.candidates is not None else None
    if preemption is None:
        return found
    count = len({each for victims in preemption.victims.values() for each in victims})
    who = "1 placement of lower priority has" if count == 1 else f"{count} placements of lower priority have"
    return _waiting(found, refusal, f"{who} to leave {_named(sorted(preemption.victims))} for it", preemption)


def _awaited(request: Request, snapshot: Snapshot, own: dict[str, Reservation]) -> Iterator[tuple[str, PlacementRef]]:
    """Who still has to leave, of those that were asked to for this wish."""
    for target, held in own.items():
        if (held.head.uid, held.head.generation) == (request.head.uid, request.head.generation):
            for victim in held.victims:
                if target in snapshot.taken.reservations.get(victim, {}):
                    yield target, victim


def _waiting(found: Outcome, refusal: Refusal, why: str, preemption: Preemption | None = None) -> Outcome:
    told = Refusal(code=RefusalCode.PREEMPTING, message=f"{why}; {refusal.message}", stage=Stage.SCHEDULER)
    proposal = msgspec.structs.replace(found.proposal, refusal=told, missing=None, preemption=preemption)
    return replace(found, proposal=proposal)


def _named(targets: Sequence[str]) -> str:
    names = [TargetRef.parse(each).name for each in targets]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _by_rank(targets: Iterable[Sequence[PossibleVictim]]) -> list[list[PossibleVictim]]:
    """Who could leave, those of the lowest rank first, target by target."""
    ranked = [
        (rank, number, list(those))
        for number, some in enumerate(targets)
        for rank, those in groupby(some, key=lambda each: each.rank)
    ]
    return [those for _, _, those in sorted(ranked, key=lambda each: each[:2])]


@dataclass(frozen=True)
class _Search:
    """Looks for those who would have to leave. `attempt` schedules by the snapshot as it is."""

    request: Request
    preempting: Preempting
    snapshot: Snapshot
    attempt: Callable[[], Outcome]
    leaving: Mapping[PlacementRef, Collection[str]]
    """Who has to leave which targets for others already."""

    def find(self, found: Outcome) -> Preemption | None:
        """What would be chosen, and who has to leave for that, none of them in vain; None where nobody helps."""
        assert found.candidates is not None
        options = self._options(found, found.candidates)
        if found.candidates.demands.divided is None:
            victims = self._enough([least for _, least, _ in options][:MOST_TARGETS])
        else:  # of what is divided, a target may take more than the least that is of any use there
            victims = self._enough(_by_rank([possible for _, _, possible in options]))
        if victims is None:
            return None
        for each in sorted(victims, key=lambda each: each.harm, reverse=True):
            without = [other for other in victims if other is not each]
            if self._does(without):
                victims = without
        with self._without(victims):
            choices = self.attempt().proposal.selected
        by_target: dict[str, tuple[PlacementRef, ...]] = {}
        for each in sorted(victims, key=lambda each: (each.target, each.placement)):
            by_target[each.target] = (*by_target.get(each.target, ()), each.placement)
        return Preemption(choices=choices, victims=by_target)

    def _enough(self, sets: Sequence[Sequence[PossibleVictim]]) -> list[PossibleVictim] | None:
        """One set after the other leaves, until it fits; None where it never does."""
        leaving: list[PossibleVictim] = []
        for some in sets:
            if some and self._within_budgets([*leaving, *some]):
                leaving += some
                if len(leaving) > MOST_VICTIMS:
                    return None
                if self._does(leaving):
                    return leaving
        return None

    def _does(self, victims: Collection[PossibleVictim]) -> bool:
        with self._without(victims):
            return bool(victims) and self.attempt().proposal.refusal is None

    def _without(self, victims: Collection[PossibleVictim]) -> AbstractContextManager[None]:
        return self.snapshot.as_if_left([(each.target, each.placement) for each in victims])

    def _options(
        self, found: Outcome, candidates: Candidates
    ) -> list[tuple[Harm, tuple[PossibleVictim, ...], tuple[PossibleVictim, ...]]]:
        """By target, with the least harm first: who has to leave so that the target is of any use, and who could."""
        otherwise = np.zeros(len(candidates), np.bool_)
        for name, exclusion in found.exclusions:
            if name != "Fit":
                otherwise |= exclusion.excluded
        positions = (candidates.position(target) for target in self.preempting.targets)
        looked_at = []
        for position in [each for each in positions if each is not None and not otherwise[each]][:MOST_LOOKED_AT]:
            (target,) = candidates.some("id", np.array([position]))
            possible, lacking = self._possible(target), self._lacking(candidates, position)
            least_of_all = no_less_than(possible, lacking) if possible else None
            if least_of_all is not None:
                looked_at.append((least_of_all, target, possible, lacking))
        options = []
        for _, _, possible, lacking in sorted(looked_at, key=lambda each: each[:2])[:MOST_COMPARED]:
            least = least_harm(possible, lacking)
            if least is not None:
                options.append((harm_of(least), least, possible))
        return sorted(options, key=lambda option: option[0])

    def _lacking(self, candidates: Candidates, position: int) -> dict[str, float]:
        """What a target has too little of to be of any use."""
        lacking = {}
        for resource in candidates.demands.needed:
            needed = float(np.broadcast_to(candidates.demands.least(resource), len(candidates))[position])
            if candidates.spare(resource)[position] < needed:
                lacking[resource] = needed - float(candidates.free(resource)[position])
        return lacking

    def _possible(self, target: str) -> tuple[PossibleVictim, ...]:
        """Who may be asked to leave a target: those of lower rank, and none that its budget keeps."""
        allocatable = self.snapshot.target(self.snapshot.rows[target]).allocatable
        found = (
            PossibleVictim(
                placement=held.placement,
                target=target,
                rank=held.rank,
                resources=held.resources,
                budget=held.budget,
                share=math.fsum(
                    amount / allocatable[name]
                    for name, amount in held.resources.items()
                    if allocatable.get(name, 0.0) > 0
                ),
            )
            for held in self.snapshot.taken.at(target)
            if held.rank is not None and self._outranks(held, held.rank)
        )
        within = (each for each in found if self._within_budgets([each]))
        return tuple(sorted(within, key=lambda each: each.harm)[:MOST_OF_TARGET])

    def _outranks(self, held: Reservation, rank: int) -> bool:
        """Whether it comes before another one: among those of a workspace, by what both say themselves as well."""
        if held.placement == self.request.placement or held.until or rank >= self.preempting.rank:
            return False
        return held.placement.workspace != self.request.placement.workspace or (
            held.priority < self.request.spec.priority
        )

    def _within_budgets(self, victims: Collection[PossibleVictim]) -> bool:
        """Whether none of them would have to leave more targets at a time than its budget allows."""
        for each in victims:
            if each.budget is not None:
                left = {other.target for other in victims if other.placement == each.placement}
                if len(left.union(self.leaving.get(each.placement, ()))) > each.budget:
                    return False
        return True

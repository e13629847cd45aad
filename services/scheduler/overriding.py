"""What operators' overrides (PlacementOverrides) say of the candidates. Pure; asked only where there are any."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import msgspec
import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.choosing import Chosen
from services.scheduler.filters import Exclusion
from services.scheduler.ranking import Refused
from services.scheduler.selection import Contest
from services.scheduler.strategies import Strategy
from services.scheduler.strategies.binpack import binpack
from shared.api import TargetReference
from shared.columns import Bools, Floats, Ints
from shared.model.decision import Choice, Rejection
from shared.model.reasons import RefusalCode, RejectionCode
from shared.model.refs import TargetRef
from shared.model.request import OperatorOverride
from shared.model.resources import with_tolerance

POINTS: Final = {"Prefer": 20.0, "Avoid": -20.0}
"""What they add to a score, which stays between 0 and 100."""

PASSED_OVER: Final = frozenset({"Selection", "Affinity", "Neighbours", "Topology"})
"""Filters by which the Placement chooses for itself: a target that is forced need not pass them.

All others hold: what the target and its owner, policies, quotas and the room there allow.
"""
ROOM: Final = "Fit"
"""The filter that an override with `overCommit` passes over besides."""


@dataclass(frozen=True)
class Overriding:
    """Which candidates are forced, excluded, preferred or avoided, and by which of the `overrides`.

    `by` and `preferred_by` are places in `overrides`, -1 for none: the first that names a target decides whether it is
    forced or excluded, and the first whether it is preferred or avoided. `absent` are the targets that are forced and
    are no candidates, each with the override that does so.
    """

    overrides: tuple[OperatorOverride, ...]
    by: Ints
    preferred_by: Ints
    forced: Bools
    over_committed: Bools
    absent: tuple[tuple[OperatorOverride, str], ...] = ()

    def only(self, kept: Bools) -> "Overriding":
        """The same of fewer candidates."""
        return replace(
            self,
            by=self.by[kept],
            preferred_by=self.preferred_by[kept],
            forced=self.forced[kept],
            over_committed=self.over_committed[kept],
        )

    def exclusions(self) -> Iterator[Exclusion]:
        """What each of the overrides excludes."""
        for place, override in enumerate(self.overrides):
            here = (self.by == place) & ~self.forced
            if here.any():
                yield Exclusion(RejectionCode.EXCLUDED, f"excluded by {named(override)}", here, override.reason)

    def passes(self, name: str, exclusion: Exclusion) -> Exclusion:
        """What a filter excludes, but for the forced where it counts for nothing."""
        if name in PASSED_OVER:
            return exclusion._replace(excluded=exclusion.excluded & ~self.forced)
        return exclusion._replace(excluded=exclusion.excluded & ~self.over_committed) if name == ROOM else exclusion

    @property
    def points(self) -> Floats:
        """The points that each candidate gets besides, or loses."""
        each = np.array([POINTS.get(override.type, 0.0) for override in self.overrides] + [0.0])  # -1 is the last
        points: Floats = each[self.preferred_by]
        return points

    def noted(self, choice: Choice, position: int) -> Choice:
        """The choice of a candidate, with what the overrides have to do with it."""
        return msgspec.structs.replace(
            choice,
            reason=self.said_of(position) + choice.reason,
            forced=bool(self.forced[position]),
            over_commit=bool(self.over_committed[position]),
        )

    def said_of(self, position: int) -> str:
        """By which override a candidate is where it is, in words that begin a reason; empty without one."""
        said = []
        if self.forced[position]:
            said.append(f"forced by {named(self.overrides[self.by[position]])}")
        if self.points[position]:
            override = self.overrides[self.preferred_by[position]]
            said.append(f"{'preferred' if override.type == 'Prefer' else 'avoided'} by {named(override)}")
        return "".join(f"{each}, " for each in said)


def overriding(candidates: Candidates) -> Overriding | None:
    """What the overrides of a request say of its candidates; None where it has none."""
    overrides = candidates.request.operator_overrides
    if not overrides:
        return None
    by, preferred_by = np.full((2, len(candidates)), -1, np.intp)
    absent: list[tuple[OperatorOverride, str]] = []
    excluded: list[TargetReference] = []
    for place, override in enumerate(overrides):
        column = preferred_by if override.type in POINTS else by
        if column is by and override.type not in ("Force", "Exclude"):
            continue  # a later version knows what it means
        for reference in override.targets:
            found = _named(candidates, reference)
            column[found & (column < 0)] = place
            if override.type == "Exclude":
                excluded.append(reference)
            elif override.type == "Force" and not found.any() and not any(_alike(reference, each) for each in excluded):
                absent.append((override, reference.name))
    forcing = [each.type == "Force" for each in overrides] + [False]
    beyond = [each.type == "Force" and each.over_commit for each in overrides] + [False]
    return Overriding(overrides, by, preferred_by, np.array(forcing)[by], np.array(beyond)[by], tuple(absent))


def insist(overriding: Overriding, candidates: Candidates, kept: Bools, rejections: Sequence[Rejection]) -> None:
    """Raises `Refused` where a target that an operator forces is not kept: nothing else takes its place.

    `rejections` are of all stages, and say why; those of targets that the requester may not see name none.
    """
    (unfit,) = (overriding.forced & ~kept).nonzero()
    by = (overriding.overrides[place] for place in overriding.by[unfit].tolist())
    found = [
        (each, TargetRef.parse(target).name) for each, target in zip(by, candidates.some("id", unfit), strict=True)
    ] + list(overriding.absent)
    if not found:
        return
    override, name = found[0]
    said = (each for each in rejections if any(TargetRef.parse(target).name == name for target in each.targets))
    why = next((each.message for each in said), "it may not be placed there, or there is none of that name")
    more = f"; nor can {len(found) - 1} more that are forced" if len(found) > 1 else ""
    raise Refused(
        RefusalCode.FORCED_UNFIT,
        f"{named(override)} ({override.reason}) forces it to {name}, which cannot take it: {why}{more}",
    )


def within_quotas(candidates: Candidates) -> Ints:
    """How many replicas quotas leave place for in each candidate, whatever room there is."""

    def within(resource: str) -> Floats:
        unbounded = np.full(len(candidates), np.inf)
        left = (with_tolerance(candidates.quota_left(path, resource)) for path in candidates.quotas)
        return reduce(np.minimum, left, unbounded)

    return candidates.demands.capacity(within, len(candidates))


def beside_forced(strategy: Strategy) -> Strategy:
    """A strategy that takes the forced, and beside them what it would take, as far as more are wanted."""

    def choose(contest: Contest) -> Chosen:
        forced, rest = contest.order[: contest.forced], contest.order[contest.forced :]
        replicas = contest.replicas
        if replicas is not None:
            replicas = max(replicas - int(contest.capacity[forced].sum()), 0)
        fewest, most = contest.fewest - contest.forced, min(contest.most - contest.forced, len(rest))
        packed = strategy is binpack and replicas == 0 and fewest <= 0
        if most <= 0 or packed:
            return Chosen(forced, contest.enough(forced) and len(forced) >= contest.fewest)
        held = contest.held.copy()
        held[forced] = 0
        kept = min(int(np.count_nonzero(held[rest])), most)
        beside = replace(
            contest, order=rest, kept=kept, fewest=fewest, most=most, held=held, replicas=replicas, forced=0
        )
        taken, will_do, exact = strategy(beside)
        return Chosen(np.concatenate([forced, taken]), will_do, exact)

    return choose


def named(override: OperatorOverride) -> str:
    """An override as sentences name it."""
    return f"override {override.name}"


def _named(candidates: Candidates, reference: TargetReference) -> Bools:
    found = candidates.has("name", reference.name)
    return found & candidates.has("workspace", reference.workspace) if reference.workspace else found


def _alike(one: TargetReference, other: TargetReference) -> bool:
    same = not one.workspace or not other.workspace or one.workspace == other.workspace
    return one.name == other.name and same

"""Who has to leave a target so that something fits: those whose leaving does the least harm."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import msgspec

from shared.model.refs import PlacementRef
from shared.model.resources import Resources, add, fits

MOST_TRIED = 1024
"""Combinations that are tried for the fewest. Where there are more, it is few, and none too many, but maybe not the
fewest."""


class PossibleVictim(msgspec.Struct, frozen=True, kw_only=True):
    """A placement that may have to leave a target: what its priority counts for there, what it holds, and which
    `share` of the target that is, summed over resources."""

    placement: PlacementRef
    target: str
    rank: int
    resources: Resources
    share: float
    budget: int | None = None  # the most targets that it leaves at a time; None: any number

    @property
    def harm(self) -> tuple[int, float, str, str]:
        """In what order they are spared: the last first."""
        return (self.rank, self.share, self.placement.id, self.target)


Harm = tuple[float, int, float, tuple[str, ...]]


def harm_of(victims: Iterable[PossibleVictim]) -> Harm:
    """What their leaving costs: the highest rank counts first, then how many they are, then how much they hold."""
    some = list(victims)
    highest = max((each.rank for each in some), default=-math.inf)
    share = round(math.fsum(each.share for each in some), 9)
    return (highest, len(some), share, tuple(sorted(each.placement.id for each in some)))


def no_less_than(possible: Sequence[PossibleVictim], lacking: Resources) -> tuple[float, int] | None:
    """The highest rank among those whose leaving does the least harm, and how many these are at the fewest, told in
    no time; None where it is not enough."""
    if not lacking:
        return -math.inf, 0
    pool = _lowest(possible, lacking)
    if pool is None:
        return None
    fewest = 0
    for name, amount in lacking.items():
        rest, count = amount, 0
        for each in sorted((each.resources.get(name, 0.0) for each in pool), reverse=True):
            if fits({name: rest}, {}):
                break
            rest, count = rest - each, count + 1
        fewest = max(fewest, count)
    return max((each.rank for each in pool), default=0), fewest


def least_harm(possible: Sequence[PossibleVictim], lacking: Resources) -> tuple[PossibleVictim, ...] | None:
    """Those of one target whose leaving gives what is `lacking`, with the least harm; None where that is not enough.

    None of them is there in vain: without any one of them it would be too little.
    """
    if not lacking:
        return ()
    useful = sorted(
        (each for each in possible if any(each.resources.get(name, 0.0) > 0 for name in lacking)),
        key=lambda each: each.harm,
    )
    pool = _lowest(useful, lacking)
    if pool is None:
        return None
    tried = 0
    for count in range(1, len(pool) + 1):
        tried += math.comb(len(pool), count)
        if tried > MOST_TRIED:
            return _few(pool, lacking)
        enough = [some for some in combinations(pool, count) if _gives(some, lacking)]
        if enough:
            return min(enough, key=harm_of)
    return None


def _lowest(useful: Sequence[PossibleVictim], lacking: Resources) -> list[PossibleVictim] | None:
    """All up to the lowest rank with which it is enough."""
    for rank in sorted({each.rank for each in useful}):
        some = [each for each in useful if each.rank <= rank]
        if _gives(some, lacking):
            return some
    return None


def _few(pool: Sequence[PossibleVictim], lacking: Resources) -> tuple[PossibleVictim, ...]:
    """Those that give most of what is lacking, until it is enough; then nobody who need not be among them."""

    def gives(each: PossibleVictim) -> float:
        return max(each.resources.get(name, 0.0) / amount for name, amount in lacking.items() if amount > 0)

    chosen: list[PossibleVictim] = []
    for each in sorted(pool, key=lambda each: (-gives(each), each.harm)):
        chosen.append(each)
        if _gives(chosen, lacking):
            break
    for each in sorted(chosen, key=lambda each: each.harm, reverse=True):
        without = [other for other in chosen if other is not each]
        if _gives(without, lacking):
            chosen = without
    return tuple(chosen)


def _gives(victims: Iterable[PossibleVictim], lacking: Resources) -> bool:
    return fits(lacking, add(*(each.resources for each in victims)))

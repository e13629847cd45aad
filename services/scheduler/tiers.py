"""Tiers of affinity: groups of targets that are tried in order."""

from dataclasses import dataclass

import numpy as np

from services.scheduler.candidates import Candidates
from shared.columns import Bools, Ints


@dataclass(frozen=True)
class Tier:
    """One group: its name, and which candidates belong to it."""

    name: str
    members: Bools


def tiers(candidates: Candidates, kept: Bools) -> list[Tier]:
    """The Placement's tiers in the order in which they are tried; none where it has none.

    That is their own order. While the placement may not move, the first tier that holds all that it runs on (as far as
    these targets are `kept`) comes before the others: it leaves that one only when that cannot take it any more.
    """
    found = [Tier(each.name, candidates.any_of(each.required)) for each in candidates.spec.affinity.tiers]
    staying = candidates.previous & kept
    if not candidates.moves and staying.any():
        holds = [tier for tier in found if tier.members[staying].all()]
        found.sort(key=lambda tier: tier not in holds[:1])
    return found


def places(candidates: Candidates) -> Ints | None:
    """In which of the Placement's tiers each candidate is, the first that has it, counted from 0; None without tiers.

    What runs in a later one is overflow: where less is wanted, it goes first.
    """
    wanted = candidates.spec.affinity.tiers
    if not wanted:
        return None
    found = np.full(len(candidates), len(wanted), np.intp)
    for place, each in reversed(list(enumerate(wanted))):
        found[candidates.any_of(each.required)] = place
    return found


def scaled_in(
    candidates: Candidates, ranked: Ints, count: int, most: int, held: Ints, *, free: bool
) -> tuple[Ints, int]:
    """Positions, best first, where some of the first `count` have to go, since at most so many are wanted: the overflow
    first, then where the least runs; and how many stay in the running.

    `free`: nothing else, as room or how targets must lie, decides which; so what is more overflow than has to stay is
    none to choose from.
    """
    there, tier = ranked[:count], places(candidates)
    if tier is None:
        return np.concatenate([there[np.argsort(-held[there], kind="stable")], ranked[count:]]), count
    there = there[np.lexsort((-held[there], tier[there]))]
    if free:
        there = there[tier[there] <= tier[there[most - 1]]] if most else there
    return np.concatenate([there, ranked[count:]]), len(there)

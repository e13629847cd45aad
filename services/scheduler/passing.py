"""Why a target was passed over for one that scores less. Pure."""

import numpy as np

from services.scheduler.selection import Contest, Domains
from shared.columns import Ints


def passed_over(contest: Contest, taken: Ints, position: int, instead: int, *, gain: float | None = None) -> str:
    """The rule by which `instead`, the lowest of what is `taken`, was chosen before `position`, which scores more.

    It continues "passed over for ...:". What it would be to exchange the two is held against what `choosing` goes by,
    in that order. `gain` is how many points a move has to gain, where `instead` is where the placement runs and it may
    move.
    """
    exchanged = np.where(taken == instead, position, taken)
    if contest.retained(exchanged) < contest.retained(taken):
        return "the placement runs there already, and what runs is not moved"
    for each in contest.musts:
        if not each.hold(exchanged):
            return f"the spread over {each.key} must hold"
    if not contest.enough(exchanged):
        return "it has more room, and with the other one the replicas would not fit"
    for each in contest.musts:
        if each.limited and len(np.unique(each.of[exchanged])) < len(np.unique(each.of[taken])):
            return f"as many domains of {each.key} are used as may be"
    if gain is not None:
        return f"the placement runs there already, and a move has to gain {gain:g} points (stability.rebalance)"
    for each in contest.domains:
        if _uneven(each, exchanged) > _uneven(each, taken):
            return f"targets are spread over {each.key}"
    return "the targets suit better together"


def _uneven(domains: Domains, taken: Ints) -> tuple[int, int]:
    """How far these are from lying in all domains evenly: how many are in none, and the sum of squares."""
    held = np.bincount(domains.of[taken], minlength=domains.count + 1)
    return int(held[domains.count]), int((held[: domains.count] ** 2).sum())

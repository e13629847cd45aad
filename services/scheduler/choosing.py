"""Choosing among ranked targets: one by one, and exactly where that finds none, or perhaps not the best.

Of the choices that the counts, the constraints and the room allow, the best one

1. moves the fewest replicas that run,
2. has the most targets (or the fewest, where they are wanted `few`), and
3. uses the most domains, where not all may be used (`maxDomains`), and
4. has the highest sum of scores.

What is a wish comes before 4 and gives way before anything is refused.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from services.scheduler.selection import Contest
from services.scheduler.solver import solve
from shared.columns import Ints


class Chosen(NamedTuple):
    """What was taken, best first, and whether it `will_do`. `exact`: if not, there is nothing that would."""

    taken: Ints
    will_do: bool
    exact: bool = True


def choose(contest: Contest, *, few: bool = False, even: bool = False) -> Chosen:
    """The best choice: as many targets as may be, or as `few` as will do; `even` fills the emptiest domain first."""
    there = contest.stays
    if there is not None:
        return Chosen(there, will_do=True)
    few = few or (contest.kept > 0 and contest.replicas is not None)  # no replica moves to a target that nobody needs
    attempts = (
        asked.gather_fewest(even=evenly) if few else asked.gather(contest.most, even=evenly)
        for asked, evenly in _concessions(contest, even)
    )
    tried = next(attempts)
    found, best = next((each for each in chain([tried], attempts) if contest.fine(each[0])), (None, False))
    wished = even or len(contest.domains) > len(contest.musts)
    if found is not None and (contest.all_stay(found) if wished else _surely_best(contest, found, best)):
        return Chosen(found, will_do=True)
    solution = solve(contest, few=few, only_best=found is not None)
    if wished and found is not None:  # what keeps the wishes, unless by that replicas move that could stay
        moves_less = solution.taken is not None and contest.retained(solution.taken) > contest.retained(found)
        return Chosen(solution.taken if solution.taken is not None and moves_less else found, will_do=True)
    known = [each for each in (found, solution.taken) if each is not None]
    if known:
        return Chosen(max(known, key=lambda each: _worth(contest, each, few)), will_do=True)
    return Chosen(tried[0], will_do=False, exact=solution.exact)


def _concessions(contest: Contest, even: bool) -> Iterator[tuple[Contest, bool]]:
    """The contest with all that is wished, then with less and less."""
    wishes = len(contest.domains) - len(contest.musts)
    yield contest, even
    if contest.replicas is None:  # one by one, a wish is kept only where that is possible
        return
    if even:
        yield contest, False
    for gone in range(1, wishes + 1):
        yield contest.without(gone), False


def _surely_best(contest: Contest, taken: Ints, best: bool) -> bool:
    """True where one by one leads to the best: nothing moves, whichever of what is there were left out something would,
    room decides nothing (`best`), and under one constraint at most, which leaves all domains open.
    """
    simple = len(contest.musts) <= 1 and not any(each.limited for each in contest.musts)
    if not (simple and contest.all_needed and contest.all_stay(taken)):
        return False
    return best or (not contest.musts and contest.replicas is None)


def _worth(contest: Contest, taken: Ints, few: bool) -> tuple[int, int, int, float]:
    """By what one choice is better than another."""
    domains = sum(len(np.unique(each.of[taken])) for each in contest.musts if each.limited)
    scores = round(float(contest.totals[taken].sum()), 5)
    return contest.retained(taken), -len(taken) if few else len(taken), domains, scores

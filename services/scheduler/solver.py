"""The exact answer to which targets to take, as an integer programme that HiGHS solves.

For each candidate x is 1 if it is taken. With h the targets taken in a domain, t the fewest in any that counts, and u
whether a domain is used, where that matters:

    fewest ≤ Σx ≤ most          Σ capacity·x ≥ replicas
    t ≤ h ≤ t + maxSkew         where all domains count
    t − most·(1−u) ≤ h ≤ t + maxSkew,  u ≤ h ≤ most·u,  minDomains ≤ Σu ≤ maxDomains     where not all may be used

It is solved for one aim after the other, each keeping what the one before reached. The bounds are in nodes of the
search tree and candidates, never in time, so that the same question has the same answer.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from services.scheduler.selection import Contest, Domains
from shared.columns import Bools, Floats, Ints

MOST_CANDIDATES = 400
"""Above which no exact answer is looked for, candidates that cannot matter aside: half a second at that size."""
MOST_FOR_THE_BEST = 24
"""Above which what was found one by one is not compared with the best."""
MOST_NODES = 500
"""Of the search tree."""
MOST_ALIKE = 1000
"""Candidates of the same domains, above which nobody finds out which of them matter, where room does."""
INFINITY = float("inf")


class Solution(NamedTuple):
    """The positions that are taken, best first; None where none were found. `exact`: there are none, or none better."""

    taken: Ints | None
    exact: bool


def solve(contest: Contest, *, few: bool, only_best: bool) -> Solution:
    """The best choice under all constraints that are a must, see `choosing`; or any, where the best takes too long.

    `only_best`: one that will do is known, so nothing is done where the best takes too long.
    """
    if only_best and len(contest.order) > MOST_CANDIDATES:
        return Solution(None, exact=False)
    places = _those_that_matter(contest)
    exact = len(places) <= MOST_FOR_THE_BEST
    if len(places) > MOST_CANDIDATES or (only_best and not exact):
        return Solution(None, exact=False)
    programme = _Programme(contest, places)
    one = np.full(len(places), -1.0 if few else 1.0)
    aims = [programme.staying(contest, places)] if contest.held[places].any() else []
    if exact:
        aims += [one, *programme.domains, contest.totals[places]]
    elif not aims:
        aims = [np.zeros(0)]
    taken, proven = None, True
    for aim in aims:
        found, proven = programme.maximize(aim)
        if found is None:
            break
        taken = np.flatnonzero(found[: len(places)] > 0.5)
        programme.at_least(aim, float(aim @ found[: len(aim)]))
    return Solution(None if taken is None else places[taken], exact=proven and (exact or taken is None))


def _those_that_matter(contest: Contest) -> Ints:
    """Positions by rank, without those that as many others of their domains as may be taken are no worse than."""
    order, musts = contest.order, contest.musts
    cell = np.zeros(len(order), np.intp)
    for each in musts:
        cell = np.unique(cell * each.count + each.of[order], return_inverse=True)[1].ravel()
    room = contest.capacity[order] if contest.replicas is not None else np.zeros(len(order), np.intp)
    kept = np.ones(len(order), np.bool_)
    for number in range(int(cell.max(initial=-1)) + 1):
        (members,) = (cell == number).nonzero()
        if contest.replicas is None and not contest.kept:
            kept[members[contest.most :]] = False
        elif contest.most < len(members) <= MOST_ALIKE:
            kept[members] = _among_the_best(contest.held[order[members]], room[members], contest.most)
    found: Ints = order[kept]
    return found


def _among_the_best(held: Ints, room: Ints, most: int) -> Bools:
    """Which of candidates in order of rank have fewer than `most` before them with at least as much of both."""
    kept = np.zeros(len(room), np.bool_)
    for place in range(len(room)):
        better = kept[:place] & (room[:place] >= room[place]) & (held[:place] >= held[place])
        kept[place] = np.count_nonzero(better) < most
    return kept


class _Programme:
    """The integer programme of one contest over some candidates."""

    def __init__(self, contest: Contest, places: Ints) -> None:
        self._limited: list[int] = []
        self._upper: list[float] = [1.0] * len(places)
        self._rows: list[tuple[float, float, Mapping[int, float]]] = []
        every = range(len(places))
        self._row(contest.fewest, contest.most, dict.fromkeys(every, 1.0))
        if contest.replicas is not None:
            room = np.minimum(contest.capacity[places], contest.replicas)
            self._row(contest.replicas, INFINITY, dict(zip(every, room.astype(np.float64).tolist(), strict=True)))
        for each in contest.musts:
            self._spread(each, _by_rank(each.of[places]), contest.most)

    @property
    def domains(self) -> list[Floats]:
        """The aim to use as many domains as may be, where not all may; nothing where all may."""
        if not self._limited:
            return []
        aim = np.zeros(len(self._upper))
        aim[self._limited] = 1.0
        return [aim]

    def staying(self, contest: Contest, places: Ints) -> Floats:
        """The aim that as much as can be stays where it runs, see `Contest.retained`."""
        held = contest.held[places].astype(np.float64)
        if contest.replicas is None:
            return held
        stay = self._column(contest.replicas)
        short = contest.short(places).astype(np.float64)
        self._row(0.0, INFINITY, {**dict(enumerate(held.tolist())), stay: -1.0})
        self._row(-INFINITY, contest.replicas - contest.owed, {**dict(enumerate(short.tolist())), stay: 1.0})
        aim = np.zeros(len(self._upper))
        aim[stay] = 1.0
        return aim

    def at_least(self, aim: Floats, reached: float) -> None:
        """Whatever comes next keeps what an aim reached."""
        self._row(reached - 1e-6, INFINITY, {place: value for place, value in enumerate(aim.tolist()) if value})

    def maximize(self, aim: Floats) -> tuple[Floats | None, bool]:
        """The value of each column, None where there is no solution or none was found; and whether that is proven."""
        import highspy  # it takes 30 ms and 10 MB, and few schedulers ever need it

        solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # of a library without all its types
        for option, value in _OPTIONS.items():
            solver.setOptionValue(option, value)
        solver.passModel(self._model(highspy, aim))
        solver.run()
        status = solver.getModelStatus()
        proven = status in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kInfeasible)
        if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None, proven
        return np.rint(solver.getSolution().col_value), proven

    def _spread(self, domains: Domains, of: Ints, most: int) -> None:
        """The rows of one constraint."""
        lowest = self._column(most)
        used = []
        counting = domains.limited or domains.min_domains > 1
        for domain in range(int(of.max(initial=-1)) + 1):
            held = dict.fromkeys(np.flatnonzero(of == domain).tolist(), 1.0)
            self._row(-INFINITY, domains.max_skew, {**held, lowest: -1.0})
            if counting:
                used.append(use := self._column(1))
                self._row(-INFINITY, 0.0, {**held, use: -float(most)})
                self._row(0.0, INFINITY, {**held, use: -1.0})
            if domains.limited:
                self._limited.append(used[-1])
                self._row(-most, INFINITY, {**held, lowest: -1.0, used[-1]: -float(most)})
            else:
                self._row(0.0, INFINITY, {**held, lowest: -1.0})
        if counting:
            self._row(domains.min_domains, domains.max_domains or domains.count, dict.fromkeys(used, 1.0))

    def _column(self, upper: int) -> int:
        self._upper.append(float(upper))
        return len(self._upper) - 1

    def _row(self, least: float, most: float, terms: Mapping[int, float]) -> None:
        self._rows.append((float(least), float(most), terms))

    def _model(self, highspy: Any, aim: Floats) -> Any:
        model, columns = highspy.HighsLp(), len(self._upper)
        model.num_col_, model.num_row_ = columns, len(self._rows)
        model.sense_ = highspy.ObjSense.kMaximize
        model.col_cost_ = np.concatenate([aim, np.zeros(columns - len(aim))])
        model.col_lower_, model.col_upper_ = np.zeros(columns), np.array(self._upper)
        model.row_lower_ = np.array([least for least, _, _ in self._rows])
        model.row_upper_ = np.array([most for _, most, _ in self._rows])
        model.integrality_ = [highspy.HighsVarType.kInteger] * columns
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kRowwise
        matrix.start_ = np.cumsum([0, *(len(terms) for _, _, terms in self._rows)], dtype=np.int32)
        matrix.index_ = np.array([place for _, _, terms in self._rows for place in terms], np.int32)
        matrix.value_ = np.array([value for _, _, terms in self._rows for value in terms.values()], np.float64)
        return model


_OPTIONS: Mapping[str, Any] = {
    "output_flag": False,
    "threads": 1,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-7,
    "mip_max_nodes": MOST_NODES,
}


def _by_rank(domains: Ints) -> Ints:
    """The same domains, numbered by their best candidate, not in the order in which targets came."""
    _, first, number = np.unique(domains, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number.ravel()], np.intp)

"""Taking targets in order of rank, within topology and capacity.

Polynomial by construction: targets are grouped into cells (one per combination of domains), and each step takes the
head of the best cell that the spread constraints allow; no subset of domains is ever enumerated.
"""

from dataclasses import dataclass, replace

import numpy as np

from services.scheduler.flow import Levels, choose
from shared.columns import Bools, Ints

NEVER = np.iinfo(np.intp).max


@dataclass(frozen=True)
class Domains:
    """One spread constraint: the domain of each candidate (0..count-1), and how evenly the taken may lie."""

    of: Ints
    count: int
    max_skew: int
    min_domains: int
    max_domains: int | None
    must: bool

    def open_to(self, order: Ints, take: int) -> Bools:
        """Which domains may be used: all of them, or the best `max_domains` that can hold `take` within the skew.

        Domains rank by their best candidate. Small domains limit how many the others may hold, so domains below a
        size are left out, for the smallest such size that suffices; where none does, the most are held.
        """
        everything = np.ones(self.count, np.bool_)
        if self.max_domains is None or self.max_domains >= self.count:
            return everything
        sizes = np.bincount(self.of[order], minlength=self.count)
        first = np.full(self.count, NEVER)
        np.minimum.at(first, self.of[order], np.arange(len(order)))
        by_rank = np.argsort(first, kind="stable")
        best, most = by_rank[: self.max_domains], -1
        for least in np.unique(np.minimum(sizes[sizes > 0], take)):
            fitting = by_rank[sizes[by_rank] >= least]
            if len(fitting) < self.min_domains:
                break
            room = np.minimum(sizes[fitting], least + self.max_skew)
            chosen, holds = _best_with_room(room, self.max_domains, take)
            if holds > most:
                best, most = fitting[chosen], holds
            if holds >= take:
                break
        opened = np.zeros(self.count, np.bool_)
        opened[best] = True
        return opened

    def enough_used(self, taken: Ints) -> bool:
        """True if these lie in at least `min_domains` domains, as far as that is a must."""
        return not self.must or self.min_domains <= 1 or len(np.unique(self.of[taken])) >= self.min_domains


def _best_with_room(room: Ints, slots: int, wanted: int) -> tuple[list[int], int]:
    """The first positions, at most so many, that have the wanted room together (else those with most), and their room.

    From the roomiest on, each earlier position takes the place of the one with least room, while enough is left.
    """
    if room[:slots].sum() >= wanted:
        return list(range(min(slots, len(room)))), int(room[:slots].sum())
    roomiest = np.argsort(-room, kind="stable")[:slots].tolist()
    holds = int(room[roomiest].sum())
    chosen, leaving = set(roomiest), roomiest[::-1]
    for position in range(len(room)):
        if position in chosen:
            continue
        least = next((each for each in leaving if each in chosen and each > position), None)
        if least is None:
            break
        if holds - room[least] + room[position] >= wanted:
            chosen = chosen - {least} | {position}
            holds += int(room[position] - room[least])
    return sorted(chosen), holds


@dataclass(frozen=True)
class Contest:
    """The choice that a strategy has: candidates by position, best first; the first `kept` of them are there already.

    `capacity` is how many replicas each candidate has room for, and `replicas` how many must find room in all;
    where everything runs in each target, `replicas` is None.
    """

    order: Ints
    kept: int
    domains: tuple[Domains, ...]
    fewest: int
    most: int
    capacity: Ints
    replicas: int | None = None

    def pick(self, take: int, *, even: bool = False) -> Ints:
        """Up to `take` targets, the best that the constraints allow; `even` fills the emptiest domain first."""
        if not self.domains:
            return self.order[:take]
        taken = np.array(_Filling(self, take, even).fill(), np.intp)
        while len(taken) >= self.fewest and not all(each.enough_used(taken) for each in self.domains):
            # More were hoped for, and the domains that are still wanted were left to the last.
            taken = np.array(_Filling(self, len(taken), even).fill(), np.intp)
        return taken if len(taken) >= min(take, self.fewest) else self._exact(taken, take)

    def _exact(self, taken: Ints, most: int) -> Ints:
        """As few targets as will do, under two constraints that must hold, where one by one led to fewer."""
        musts = [each for each in self.domains if each.must]
        if len(musts) != 2 or any((each.max_domains or each.count) < each.count for each in musts):
            return taken
        rows, columns = (
            Levels(_by_rank(each.of[self.order]), each.count, each.max_skew, each.min_domains) for each in musts
        )
        found = choose(self.fewest, most, rows, columns)
        return taken if found is None else self.order[found]

    def enough(self, taken: Ints) -> bool:
        """True if the replicas find room in these."""
        return self.replicas is None or int(self.capacity[taken].sum()) >= self.replicas

    def gather(self, take: int, *, even: bool = False) -> Ints:
        """Up to `take` targets with room for all replicas: as many of the best as possible, the rest by their room."""
        taken = self.pick(take, even=even)
        if self.enough(taken):
            return taken
        by_room, low, high = self._roomiest_after(0).pick(take, even=even), 0, take
        if not self.enough(by_room):
            return by_room
        taken = by_room
        while high - low > 1:  # `low` of the best leave enough room, `high` do not
            middle = (low + high) // 2
            attempt = self._roomiest_after(middle).pick(take, even=even)
            if self.enough(attempt):
                low, taken = middle, attempt
            else:
                high = middle
        return taken

    def gather_fewest(self) -> Ints:
        """As few targets as have room for all replicas, at least `fewest`."""
        low, high = self.fewest, max(self.most, self.fewest)
        while low < high:
            middle = (low + high) // 2
            found = self._roomiest_after(0).pick(middle)
            if len(found) >= self.fewest and self.enough(found):
                high = middle
            else:
                low = middle + 1
        return self.gather(low)

    def _roomiest_after(self, best: int) -> "Contest":
        """The same with all but the best few ordered by room."""
        rest = self.order[best:]
        by_room = rest[np.argsort(-self.capacity[rest], kind="stable")]
        return replace(self, order=np.concatenate([self.order[:best], by_room]), kept=min(self.kept, best))


class _Constraint:
    """One spread constraint while targets are taken: how many each domain holds, and the domain of each cell."""

    def __init__(self, domains: Domains, order: Ints, take: int) -> None:
        self.must = domains.must
        self.held = np.zeros(domains.count, np.intp)
        self.cells = self.held  # set once candidates are grouped into cells
        self._most = domains.max_skew
        self._least = domains.min_domains
        self._opened = domains.open_to(order, take)
        self._all_open = bool(self._opened.all())

    def allows(self, left: int) -> Bools:
        """Cells that may give the next target, after which `left` more are to be taken."""
        lowest = self.held.min() if self._all_open else self.held[self._opened].min()
        fine = self.held < lowest + self._most
        if not self._all_open:
            fine &= self._opened
        if self._least > 1 and left < self._least - int((self.held > 0).sum()):
            fine &= self.held == 0
        allowed: Bools = fine[self.cells]
        return allowed


class _Filling:
    """One run of taking targets one by one under spread constraints."""

    def __init__(self, contest: Contest, take: int, even: bool) -> None:
        self._order = contest.order
        self._kept = contest.kept
        self._take = take
        self._even = even
        self._constraints = [_Constraint(each, contest.order, take) for each in contest.domains]
        self._group(contest)

    def _group(self, contest: Contest) -> None:
        """Sort candidates into cells, each a queue by rank; `_heads` is the rank of the first of each."""
        order, domains = contest.order, contest.domains
        cell = domains[0].of[order]
        for each in domains[1:]:
            cell = _renumber(cell * each.count + each.of[order])
        cells = int(cell.max()) + 1
        # Sixteen bits are sorted by radix, which is linear.
        self._queue = (cell.astype(np.uint16) if cells < 1 << 16 else cell).argsort(kind="stable")
        sizes = np.bincount(cell)
        self._ends = sizes.cumsum()
        self._next = self._ends - sizes
        self._heads = self._queue[self._next]
        self._waiting = np.ones(cells, np.bool_)
        for constraint, each in zip(self._constraints, domains, strict=True):
            constraint.cells = each.of[order[self._heads]]

    def fill(self) -> list[int]:
        """Positions in the order in which they were taken."""
        taken: list[int] = []
        while len(taken) < self._take:
            allowed = self._allowed(self._take - len(taken) - 1)
            cell = int(np.where(allowed, self._priority(), NEVER).argmin())
            if not allowed[cell]:
                break
            taken.append(int(self._order[self._heads[cell]]))
            self._advance(cell)
        return taken

    def _advance(self, cell: int) -> None:
        for constraint in self._constraints:
            constraint.held[constraint.cells[cell]] += 1
        self._next[cell] += 1
        if self._next[cell] < self._ends[cell]:
            self._heads[cell] = self._queue[self._next[cell]]
        else:
            self._waiting[cell] = False

    def _priority(self) -> Ints:
        """By rank; with `even`, by how many the first constraint's domain holds, then by rank; the kept come first."""
        if not self._even:
            return self._heads
        first = self._constraints[0]
        fullness = (first.held[first.cells] + 1) * len(self._queue)
        return np.where(self._heads < self._kept, self._heads, self._heads + fullness)

    def _allowed(self, left: int) -> Bools:
        """Cells that may give a target; of these, where there are any, those that also respect what is a wish."""
        must, wish = self._waiting, None
        for constraint in self._constraints:
            allows = constraint.allows(left)
            if constraint.must:
                must = must & allows
            else:
                wish = allows if wish is None else wish & allows
        if wish is None:
            return must
        wished = must & (wish | (self._heads < self._kept))  # a wish does not move what runs
        return wished if wished.any() else must


def _by_rank(domains: Ints) -> Ints:
    """The same domains, numbered by their best candidate, not in the order in which targets came."""
    _, first, number = np.unique(domains, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number.ravel()], np.intp)


def _renumber(numbers: Ints) -> Ints:
    """The same grouping, numbered without gaps."""
    highest = int(numbers.max()) + 1
    if highest > 1 << 22:
        return np.unique(numbers, return_inverse=True)[1].ravel()
    present = np.zeros(highest, np.bool_)
    present[numbers] = True
    return (np.cumsum(present) - 1)[numbers]

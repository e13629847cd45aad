"""Taking targets in order of rank, within topology and capacity.

Polynomial by construction: targets are grouped into cells (one per combination of domains), and each step takes the
head of the best cell that the spread constraints allow; no subset of domains is ever enumerated.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from shared.columns import Bools, Floats, Ints

NEVER = np.iinfo(np.intp).max


@dataclass(frozen=True)
class Domains:
    """One spread constraint: the domain of each candidate (0..count-1), and how evenly the taken may lie.

    Where it is a wish, candidates without the label are in no domain, which is number `count`. `key` is the label.
    """

    of: Ints
    count: int
    max_skew: int
    min_domains: int
    max_domains: int | None
    must: bool
    key: str = ""

    def open_to(self, order: Ints, take: int) -> Bools:
        """Which domains may be used: all of them, or the best `max_domains` that can hold `take` within the skew.

        Domains rank by their best candidate. Small domains limit how many the others may hold, so domains below a
        size are left out, for the smallest such size that suffices; where none does, the most are held.
        """
        everything = np.arange(self.count + 1) < self.count
        if self.max_domains is None or self.max_domains >= self.count:
            return everything
        sizes = np.bincount(self.of[order], minlength=self.count)[: self.count]
        first = np.full(self.count + 1, NEVER)
        np.minimum.at(first, self.of[order], np.arange(len(order)))
        by_rank = np.argsort(first[: self.count], kind="stable")
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
        opened = np.zeros(self.count + 1, np.bool_)
        opened[best] = True
        return opened

    def hold(self, taken: Ints) -> bool:
        """True if targets that are taken lie as they must: in enough domains and not too many, and evenly.

        The emptiest domain counts among those of all candidates, or with `max_domains` among those that are used.
        """
        held = np.bincount(self.of[taken], minlength=self.count)
        used = int(np.count_nonzero(held))
        counted = held[held > 0] if self.limited else held
        return (
            self.min_domains <= used <= (self.max_domains or self.count)
            and int(held.max() - counted.min()) <= self.max_skew
        )

    @property
    def limited(self) -> bool:
        """Whether not all domains may be used."""
        return self.max_domains is not None and self.max_domains < self.count

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
    """The choice that a strategy has: candidates by position, best first; the first `kept` of them are there already
    and need not leave.

    `capacity` is how many replicas each candidate has room for, and `replicas` how many must find room in all; where
    everything runs in each target, `replicas` is None. `held` is how many of them run in each of the kept and can stay
    (1 where everything does), and `totals` what each candidate scores. Each that is taken gets `least` replicas.
    The first `forced` of the order are taken whatever they are like; then `kept` does not count in what comes before.
    """

    order: Ints
    kept: int
    domains: tuple[Domains, ...]
    fewest: int
    most: int
    capacity: Ints
    held: Ints
    totals: Floats
    replicas: int | None = None
    least: int = 0
    forced: int = 0

    @cached_property
    def musts(self) -> tuple[Domains, ...]:
        """The constraints that are no wishes."""
        return tuple(each for each in self.domains if each.must)

    def enough(self, taken: Ints) -> bool:
        """True if the replicas find room in these."""
        return self.replicas is None or int(self.capacity[taken].sum()) >= self.replicas

    def fine(self, taken: Ints) -> bool:
        """True if these may be chosen: neither too few nor too many, with room, and lying as they must."""
        return (
            self.fewest <= len(taken) <= self.most
            and self.enough(taken)
            and all(each.hold(taken) for each in self.musts)
        )

    def retained(self, taken: Ints) -> int:
        """How many replicas can stay where they run; where everything runs in each target, how many targets.

        What a target has to get besides what runs there is taken from another.
        """
        if not self.running:
            return 0
        stay = int(self.held[taken].sum())
        if self.replicas is None:
            return stay
        return min(stay, self.replicas - max(self.owed + int(self.short(taken).sum()), 0))

    @property
    def owed(self) -> int:
        """How many replicas targets have to get in which nothing runs, were nothing to run in any: where there is no
        `least`, `fewest` of the taken get one each all the same.
        """
        return 0 if self.least or self.replicas is None else min(self.fewest, self.replicas)

    def short(self, taken: Ints) -> Ints:
        """How many replicas each of these has to get besides what runs there; of those `owed`, one less for each in
        which something runs.
        """
        held = self.held[taken]
        missing: Ints = np.maximum(self.least - held, 0) if self.least else -np.minimum(held, 1)
        return missing

    def all_stay(self, taken: Ints) -> bool:
        """Whether nothing that runs moves: what is there stays, or as much of it as is wanted."""
        return self.retained(taken) == self.to_stay

    @property
    def all_needed(self) -> bool:
        """Whether each of the kept has something that moves if it is not taken."""
        return self.running == self.to_stay and bool(self.held[self.order[: self.kept]].all())

    @property
    def to_stay(self) -> int:
        """How much of what runs stays if nothing moves."""
        return self.running if self.replicas is None else min(self.running, self.replicas)

    @cached_property
    def running(self) -> int:
        """How much runs where it may stay: replicas, or where everything runs in each target, targets."""
        return int(self.held.sum())

    @property
    def stays(self) -> Ints | None:
        """What there is already, or where the most of it runs, if that will do and nothing moves: replicas that are
        divided do not move to what is not needed.
        """
        if self.replicas is None or not self.kept:
            return None
        there = self.order[: self.kept]
        by_held = np.argsort(-self.held[there], kind="stable")
        enough = int(np.searchsorted(self.held[there][by_held].cumsum(), self.to_stay)) + 1
        for count in range(self.kept, enough - 1, -1):
            some = there[np.sort(by_held[:count])]
            if self.all_stay(some) and self.fine(some):
                return some
        return None

    def without(self, wishes: int) -> "Contest":
        """The same without so many of its wishes, of which the last go first."""
        wished = [each for each in self.domains if not each.must]
        gone = {id(each) for each in wished[len(wished) - wishes :]}
        return replace(self, domains=tuple(each for each in self.domains if id(each) not in gone))

    def pick(self, take: int, *, even: bool = False) -> Ints:
        """Up to `take` targets, the best that the constraints allow, one by one; `even` fills the emptiest domain
        first.
        """
        if not self.domains:
            return self.order[:take]
        taken = np.array(_Filling(self, take, even).fill(), np.intp)
        hoped = take
        while self.fewest <= len(taken) < hoped and not all(each.enough_used(taken) for each in self.domains):
            # More were hoped for, and the domains that are still wanted were left to the last.
            hoped = len(taken)
            taken = np.array(_Filling(self, hoped, even).fill(), np.intp)
        return taken

    def gather(self, take: int, *, even: bool = False) -> tuple[Ints, bool]:
        """Up to `take` targets with room for all replicas: as many of the best as possible, the rest by their room;
        and whether these are simply the best.
        """
        taken = self.pick(take, even=even)
        if self.enough(taken):
            return taken, True
        low, high = min(self.kept, take), take
        by_room = self._roomiest_after(low).pick(take, even=even)
        if low and not self.enough(by_room):  # what runs has to move
            low, high = 0, low
            by_room = self._roomiest_after(low).pick(take, even=even)
        if not self.enough(by_room):
            return by_room, False
        taken = by_room
        while high - low > 1:  # `low` of the best leave enough room, `high` do not
            middle = (low + high) // 2
            attempt = self._roomiest_after(middle).pick(take, even=even)
            if self.enough(attempt):
                low, taken = middle, attempt
            else:
                high = middle
        return taken, False

    def gather_fewest(self, *, even: bool = False) -> tuple[Ints, bool]:
        """As few targets as have room for all replicas, at least `fewest`, and all that are there already; and whether
        these are simply the best.
        """
        low = least = min(max(self.fewest, self.kept), self.most)
        high = max(self.most, least)
        while low < high:
            middle = (low + high) // 2
            found = self._roomiest_after(self.kept).pick(middle)
            if len(found) >= least and self.enough(found):
                high = middle
            else:
                low = middle + 1
        taken, best = self.gather(low, even=even)
        return taken, best and low == self.fewest

    def _roomiest_after(self, best: int) -> "Contest":
        """The same with all but the best few ordered by room."""
        rest = self.order[best:]
        by_room = rest[np.argsort(-self.capacity[rest], kind="stable")]
        return replace(self, order=np.concatenate([self.order[:best], by_room]), kept=min(self.kept, best))


class _Constraint:
    """One spread constraint while targets are taken: how many each domain holds, and the domain of each cell."""

    def __init__(self, domains: Domains, order: Ints, take: int) -> None:
        self.must = domains.must
        self.held = np.zeros(domains.count + 1, np.intp)
        self.cells = self.held  # set once candidates are grouped into cells
        self._most = domains.max_skew
        self._least = domains.min_domains
        self._opened = domains.open_to(order, take)
        self._all_open = not domains.limited

    def allows(self, left: int) -> Bools:
        """Cells that may give the next target, after which `left` more are to be taken."""
        held = self.held[:-1] if self._all_open else self.held[self._opened]
        fine = self.held < np.minimum.reduce(held, initial=NEVER - self._most) + self._most
        fine &= self._opened
        if self._least > 1 and left < self._least - int((self.held[:-1] > 0).sum()):
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
            cell = _renumber(cell * (each.count + 1) + each.of[order])
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


def _renumber(numbers: Ints) -> Ints:
    """The same grouping, numbered without gaps."""
    highest = int(numbers.max()) + 1
    if highest > 1 << 22:
        return np.unique(numbers, return_inverse=True)[1].ravel()
    present = np.zeros(highest, np.bool_)
    present[numbers] = True
    return (np.cumsum(present) - 1)[numbers]

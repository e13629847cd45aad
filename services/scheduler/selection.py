"""Taking targets in order of rank, within topology and capacity.

Polynomial by construction: targets are grouped into cells (one per combination of domains), and each step takes the
head of the best cell that the spread constraints allow; no subset of domains is ever enumerated.
"""

from dataclasses import dataclass, replace

import numpy as np

from services.scheduler.snapshot import Bools, Ints

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
        size are left out, for the smallest such size that suffices.
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
            chosen = by_rank[sizes[by_rank] >= least][: self.max_domains]
            holds = int(np.minimum(sizes[chosen], sizes[chosen].min() + self.max_skew).sum())
            if holds > most:
                best, most = chosen, holds
            if holds >= take:
                break
        opened = np.zeros(self.count, np.bool_)
        opened[best] = True
        return opened


@dataclass(frozen=True)
class Contest:
    """What a strategy chooses from: candidates by position, best first; the first `kept` of them are there already.

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
        return np.array(_Filling(self, take, even).fill(), np.intp)

    def enough(self, taken: Ints) -> bool:
        """Whether the replicas find room in these."""
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
            if self.enough(self._roomiest_after(0).pick(middle)):
                high = middle
            else:
                low = middle + 1
        return self.gather(low)

    def _roomiest_after(self, best: int) -> "Contest":
        """The same with all but the best few ordered by room."""
        rest = self.order[best:]
        by_room = rest[np.argsort(-self.capacity[rest], kind="stable")]
        return replace(self, order=np.concatenate([self.order[:best], by_room]), kept=min(self.kept, best))


class _Filling:
    """One run of taking targets one by one under spread constraints."""

    def __init__(self, contest: Contest, take: int, even: bool) -> None:
        self.contest = contest
        self.even = even
        self.opened = [each.open_to(contest.order, take) for each in contest.domains]
        self.held = [np.zeros(each.count, np.intp) for each in contest.domains]
        self._group()
        self.take = take

    def _group(self) -> None:
        """Sort candidates into cells, each a queue by rank."""
        order, domains = self.contest.order, self.contest.domains
        cell = domains[0].of[order]
        for each in domains[1:]:
            cell = _renumber(cell * each.count + each.of[order])
        cells = int(cell.max()) + 1
        # Sixteen bits are sorted by radix, which is linear.
        self.queue = np.argsort(cell.astype(np.uint16) if cells < 1 << 16 else cell, kind="stable")
        self.ends = np.cumsum(np.bincount(cell, minlength=cells))
        self.next = np.concatenate([[0], self.ends[:-1]]).astype(np.intp)
        heads = self.queue[np.minimum(self.next, len(order) - 1)]
        self.cell_domains = np.stack([each.of[order][heads] for each in domains])

    def fill(self) -> list[int]:
        """Positions in the order in which they were taken."""
        taken: list[int] = []
        while len(taken) < self.take:
            waiting = self.next < self.ends
            heads = self.queue[np.minimum(self.next, len(self.queue) - 1)]
            allowed, wished = self._allowed(waiting, self.take - len(taken) - 1)
            if not allowed.any():
                break
            wished |= allowed & (heads < self.contest.kept)  # a wish does not move what runs
            if wished.any():
                allowed = wished
            cell = int(np.argmin(np.where(allowed, self._priority(heads), NEVER)))
            taken.append(int(self.contest.order[heads[cell]]))
            self.next[cell] += 1
            for held, domain in zip(self.held, self.cell_domains[:, cell], strict=True):
                held[domain] += 1
        return taken

    def _priority(self, heads: Ints) -> Ints:
        """By rank; with `even`, by how many the first constraint's domain holds, then by rank; the kept come first."""
        if not self.even:
            return heads
        fullness = (self.held[0][self.cell_domains[0]] + 1) * len(self.queue)
        return np.where(heads < self.contest.kept, heads, heads + fullness)

    def _allowed(self, waiting: Bools, left: int) -> tuple[Bools, Bools]:
        """Cells that may give a target, and those of them that also respect what is only a wish."""
        must, wish = waiting.copy(), waiting.copy()
        for constraint, opened, held, domain in zip(
            self.contest.domains, self.opened, self.held, self.cell_domains, strict=True
        ):
            fine = opened & (held + 1 - held[opened].min() <= constraint.max_skew)
            used = int((held > 0).sum())
            if left < constraint.min_domains - used:
                fine &= held == 0
            wish &= fine[domain]
            if constraint.must:
                must &= fine[domain]
        return must, wish & must


def _renumber(numbers: Ints) -> Ints:
    """The same grouping, numbered without gaps."""
    highest = int(numbers.max()) + 1
    if highest > 1 << 22:
        return np.unique(numbers, return_inverse=True)[1].ravel()
    present = np.zeros(highest, np.bool_)
    present[numbers] = True
    return (np.cumsum(present) - 1)[numbers]

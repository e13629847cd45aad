"""Flows with bounds, which decide whether a choice under two spread constraints exists."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from shared.columns import Ints

MOST_WORK = 100_000
"""Cells times targets to be taken, above which no exact answer is looked for. One problem of that size takes 20 ms."""
MOST_PROBLEMS = 16
"""How many combinations of a number of targets and the levels of both keys are tried."""


class Edge(NamedTuple):
    """From node to node, at least and at most so much."""

    tail: int
    head: int
    least: int
    most: int


@dataclass(frozen=True)
class Levels:
    """One key: the domain of each candidate, in order of rank, and how the domains must be filled."""

    of: Ints
    count: int
    max_skew: int
    min_domains: int

    def lowest(self, take: int) -> Iterable[int]:
        """How many targets the emptiest domain may hold when so many are taken, the evenest first."""
        least = max(-(-take // self.count) - self.max_skew, 0)
        return range(take // self.count, least - 1, -1)

    def bounds(self, low: int) -> Iterator[tuple[int, int, int, int]]:
        """Per domain, how much it holds where the emptiest holds `low`: its first target, and the others."""
        for domain in range(self.count):
            yield domain, min(low, 1), max(low - 1, 0), low + self.max_skew - 1


def choose(fewest: int, most: int, rows: Levels, columns: Levels) -> Ints | None:
    """Ranks of as few candidates as keep the skew of both keys, the best of each cell; None where none are found.

    For each number of targets, and each that the emptiest domain of a key may hold, that of every other lies between it
    and the skew above it: a flow from the domains of one key through the cells to those of the other. The first target
    of each domain comes by a way of its own, which at least `min_domains` must take. So the answer is exact, within the
    bounds above.
    """
    cells, cell_of, sizes = np.unique(rows.of * columns.count + columns.of, return_inverse=True, return_counts=True)
    row, column = _NODES, _NODES + rows.count
    between = [
        Edge(row + int(cell) // columns.count, column + int(cell) % columns.count, 0, int(size))
        for cell, size in zip(cells, sizes, strict=True)
    ]
    most = min(most, MOST_WORK // len(cells))
    for take, low, level in islice(_levels(fewest, most, rows, columns), MOST_PROBLEMS):
        edges = [*between, Edge(_END, _START, take, take)]
        edges += [Edge(_START, _FIRST, rows.min_domains, take), Edge(_START, _OTHERS, 0, take)]
        for domain, first, least, others in rows.bounds(low):
            edges += [Edge(_FIRST, row + domain, first, 1), Edge(_OTHERS, row + domain, least, others)]
        edges += [Edge(_INTO_FIRST, _END, columns.min_domains, take), Edge(_INTO_OTHERS, _END, 0, take)]
        for domain, first, least, others in columns.bounds(level):
            edges += [Edge(column + domain, _INTO_FIRST, first, 1), Edge(column + domain, _INTO_OTHERS, least, others)]
        flow = circulation(column + columns.count, edges)
        if flow is not None:
            return _best_of_each(cell_of.ravel(), flow[: len(cells)])
    return None


_START, _END, _FIRST, _OTHERS, _INTO_FIRST, _INTO_OTHERS, _NODES = range(7)
"""Nodes of the flow; those of the domains follow."""


def _levels(fewest: int, most: int, rows: Levels, columns: Levels) -> Iterator[tuple[int, int, int]]:
    return (
        (take, low, level)
        for take in range(fewest, most + 1)
        for low in rows.lowest(take)
        for level in columns.lowest(take)
    )


def _best_of_each(cell_of: Ints, wanted: Sequence[int]) -> Ints:
    """The first so many candidates of each cell, in order of rank."""
    by_cell = np.argsort(cell_of, kind="stable")
    ends = np.cumsum(np.bincount(cell_of, minlength=len(wanted)))
    starts = np.concatenate([[0], ends[:-1]])
    return np.sort(
        np.concatenate([by_cell[start : start + count] for start, count in zip(starts, wanted, strict=True)])
    )


def circulation(nodes: int, edges: Sequence[Edge]) -> list[int] | None:
    """The flow on each edge so that nothing is lost at any node; None where the bounds allow none.

    The usual reduction to a maximum flow: what must flow is taken for granted, and what that leaves over at one node is
    sent to where it lacks (Ahuja, Magnanti, Orlin: Network Flows, section 6.7), along shortest augmenting paths
    (Edmonds and Karp). Integral, since all bounds are.
    """
    leaving: list[list[int]] = [[] for _ in range(nodes + 2)]
    heads: list[int] = []
    room: list[int] = []

    def connect(tail: int, head: int, most: int) -> None:
        """An edge, and the one back on which it can be undone: their numbers differ in the last bit."""
        for here, there, amount in ((tail, head, most), (head, tail, 0)):
            leaving[here].append(len(heads))
            heads.append(there)
            room.append(amount)

    over = [0] * nodes
    for edge in edges:
        connect(edge.tail, edge.head, edge.most - edge.least)
        over[edge.head] += edge.least
        over[edge.tail] -= edge.least
    source, sink = nodes, nodes + 1
    for node, amount in enumerate(over):
        if amount > 0:
            connect(source, node, amount)
        elif amount < 0:
            connect(node, sink, -amount)
    missing = sum(amount for amount in over if amount > 0)
    while missing:
        path = _shortest_path(leaving, heads, room, source, sink)
        if not path:
            return None
        amount = min(room[edge] for edge in path)
        for number in path:
            room[number] -= amount
            room[number ^ 1] += amount
        missing -= amount
    return [edge.least + room[2 * number + 1] for number, edge in enumerate(edges)]


def _shortest_path(leaving: list[list[int]], heads: list[int], room: list[int], source: int, sink: int) -> list[int]:
    """Edges with room that lead from source to sink; none where there is no way."""
    came_by = {source: -1}
    queue = deque([source])
    while queue and sink not in came_by:
        for edge in leaving[queue.popleft()]:
            if room[edge] and heads[edge] not in came_by:
                came_by[heads[edge]] = edge
                queue.append(heads[edge])
    path = []
    node = sink
    while node in came_by and node != source:
        path.append(came_by[node])
        node = heads[came_by[node] ^ 1]
    return path

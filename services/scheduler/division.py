"""Dividing replicas among targets."""

import heapq
from collections.abc import Sequence

import numpy as np

from services.scheduler.round import Round
from services.scheduler.snapshot import Ints
from shared.model import split_target


def webster(
    seats: int, weights: Sequence[int], names: Sequence[str], room: Sequence[int], at_least: Sequence[int]
) -> list[int]:
    """Divide by weight: each next replica goes where weight / (2·replicas so far + 1) is greatest.

    Webster's (Sainte-Laguë's) method: one replica more never takes one from anybody. Ties go to the fewest replicas
    so far, then to the first name. Nobody gets more than its `room`, and everybody begins with `at_least`. Where
    seats or room run out, that is what is divided: the sum is min(seats, room), but never below the sum of `at_least`.
    """
    counts = list(at_least)
    left = min(seats, sum(room)) - sum(counts)
    # (2n+1)/w ascending is w/(2n+1) descending; equal fractions are equal as doubles, since both sides are integers.
    heap = [
        ((2 * count + 1) / weight, count, name, index)
        for index, (count, weight, name) in enumerate(zip(counts, weights, names, strict=True))
        if weight > 0 and count < room[index]
    ]
    heapq.heapify(heap)
    while left > 0 and heap:
        _, count, name, index = heap[0]
        counts[index] = count = count + 1
        left -= 1
        if count < room[index]:
            heapq.heapreplace(heap, ((2 * count + 1) / weights[index], count, name, index))
        else:
            heapq.heappop(heap)
    return counts


def fill(seats: int, room: Sequence[int], at_least: Sequence[int]) -> list[int]:
    """Divide in order: the first takes what it has room for, then the second; everybody begins with `at_least`."""
    counts = list(at_least)
    left = seats - sum(counts)
    for index, most in enumerate(room):
        more = max(min(left, most - counts[index]), 0)
        counts[index] += more
        left -= more
    return counts


def weights_of(round: Round) -> Ints:
    """The replica weight of each candidate: that of the first entry that names or selects it, else 1."""
    weights = np.ones(len(round), np.intp)
    for entry in reversed(round.spec.replicas.weights):
        if entry.target is not None:
            wanted = entry.target
            ids = [f"{wanted.workspace}/{wanted.name}"] if wanted.workspace else _named(round, wanted.name)
            for target in ids:
                position = round.position(target)
                if position is not None:
                    weights[position] = entry.weight
        else:
            weights[round.selected(entry.selector)] = entry.weight
    return weights


def _named(round: Round, name: str) -> list[str]:
    """Ids of all targets of that name, whichever workspace offers them."""
    return [target for target in round.snapshot.rows if split_target(target)[1] == name]


def divide(round: Round, taken: Ints, capacity: Ints) -> list[int]:
    """How many replicas each taken target gets: at least one, at most what it has room for.

    Weighted goes by weights alone. Dynamic (by room) and Aggregated (in order) change as little as possible: what a
    target has stays while it fits; more replicas are divided as if they were all, fewer are taken in proportion.
    """
    seats = round.demand.replicas or 0
    names = [str(target) for target in round.values("id")[taken].tolist()]
    room = capacity[taken].tolist()
    one_each = [1] * len(names)
    division = round.spec.replicas.division
    if division == "Weighted":
        return webster(seats, weights_of(round)[taken].tolist(), names, room, one_each)
    had = {choice.target: choice.replicas or 0 for choice in round.request.previous}
    base = [max(min(had.get(name, 0), most), 1) for name, most in zip(names, room, strict=True)]
    if sum(base) > seats:
        return webster(seats, base, names, base, one_each)
    if division == "Aggregated":
        return fill(seats, room, base)
    spare = [most - count for most, count in zip(room, base, strict=True)]
    more = webster(seats - sum(base), spare, names, spare, [0] * len(names))
    return [count + extra for count, extra in zip(base, more, strict=True)]

"""Dividing replicas among targets."""

import heapq
from collections.abc import Sequence

import numpy as np

from services.scheduler.candidates import Candidates
from shared.columns import Ints


def webster(
    seats: int, weights: Sequence[int], names: Sequence[str], room: Sequence[int], at_least: Sequence[int]
) -> list[int]:
    """Divide by weight: each next replica goes where weight / (2·replicas so far + 1) is greatest.

    Webster's (Sainte-Laguë's) method: one replica more never takes one from anybody. Ties go to the fewest replicas
    so far, then to the first name. Nobody gets more than its `room`, and everybody begins with `at_least`: the sum is
    the least of `seats` and all room, but never below all of `at_least`.
    """
    counts = _head_start(seats, weights, room, at_least)
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


def _head_start(seats: int, weights: Sequence[int], room: Sequence[int], at_least: Sequence[int]) -> list[int]:
    """What the method has given by when about one seat per party is left: found by bisection instead of one by one.

    Dividing by a common divisor and rounding gives a prefix of the method's own order. The last seats, where ties
    and rounding would show, are left to be given one by one.
    """
    parties = len(weights)
    if seats < 4 * parties + 64:
        return list(at_least)
    weight, most, least = np.array(weights, np.float64), np.array(room), np.array(at_least)
    low, high, best = 0.0, (seats + 1.0) / max(weight[weight > 0].min(initial=np.inf), 1.0), least
    for _ in range(64):
        middle = (low + high) / 2
        counts = np.clip(np.ceil(weight * middle - 0.5), least, np.maximum(most, least)).astype(np.intp)
        if counts.sum() <= seats - parties:
            low, best = middle, counts
        else:
            high = middle
    return [int(count) for count in best]


def fill(seats: int, room: Sequence[int], at_least: Sequence[int]) -> list[int]:
    """Divide in order: the first takes what it has room for, then the second; everybody begins with `at_least`."""
    counts = list(at_least)
    left = seats - sum(counts)
    for index, most in enumerate(room):
        more = max(min(left, most - counts[index]), 0)
        counts[index] += more
        left -= more
    return counts


def weights_of(candidates: Candidates) -> Ints:
    """The replica weight of each candidate: that of the first entry that names or selects it, else 1."""
    weights = np.ones(len(candidates), np.intp)
    for entry in reversed(candidates.spec.replicas.weights):
        if entry.target is None:
            weights[candidates.selected(entry.selector)] = entry.weight
        else:
            named = candidates.has("name", entry.target.name)
            if entry.target.workspace:
                named &= candidates.has("workspace", entry.target.workspace)
            weights[named] = entry.weight
    return weights


def divide(candidates: Candidates, taken: Ints, capacity: Ints) -> list[int]:
    """How many replicas each taken target gets: at least `minPerTarget`, at most what it has room for.

    Weighted goes by weights alone. Dynamic (by room) and Aggregated (in order) change as little as possible: what a
    target has stays while it fits; more replicas are divided as if they were all, fewer are taken in proportion.
    """
    seats = candidates.demands.divided or 0
    names: list[str] = candidates.some("id", taken)
    room = capacity[taken].tolist()
    least = candidates.spec.replicas.least
    fewest = [least] * len(names)
    division = candidates.spec.replicas.division
    if division == "Weighted":
        return webster(seats, weights_of(candidates)[taken].tolist(), names, room, fewest)
    had = {choice.target: choice.replicas or 0 for choice in candidates.request.previous}
    base = [max(min(had.get(name, 0), most), least) for name, most in zip(names, room, strict=True)]
    if sum(base) > seats:
        return webster(seats, base, names, base, fewest)
    if division == "Aggregated":
        return fill(seats, room, base)
    spare = [most - count for most, count in zip(room, base, strict=True)]
    more = webster(seats - sum(base), spare, names, spare, [0] * len(names))
    return [count + extra for count, extra in zip(base, more, strict=True)]

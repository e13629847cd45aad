"""Dividing replicas among targets."""

import heapq
from collections.abc import Sequence

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.selection import Contest
from services.scheduler.tiers import places
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


def runs_there(candidates: Candidates) -> Ints:
    """How many replicas of the placement each candidate has."""
    had = np.zeros(len(candidates), np.intp)
    for choice in candidates.request.previous:
        place = candidates.position(choice.target)
        if place is not None:
            had[place] = choice.replicas or 0
    return had


def divide(candidates: Candidates, contest: Contest, taken: Ints) -> tuple[Ints, list[int]]:
    """Which of the taken targets get replicas, and how many: none more than it has room for.

    What runs stays while it fits, unless it may move: more replicas are divided over the room that is left, fewer are
    taken away, from the last tier first. Then, or at first, Weighted goes by weights, Dynamic by room (or, taking away,
    by what is there), and Aggregated fills the first, or empties the last.
    """
    least = contest.least
    forced = [1 if place < contest.forced else 0 for place in range(len(taken))]
    counts = _counts(candidates, contest, taken, [max(least, each) for each in forced])
    idle = [place for place, count in enumerate(counts) if not count]
    wanted = contest.fewest - (len(taken) - len(idle))
    if idle and wanted > 0:  # so many have to run some all the same, and nobody who does gives all of it
        left_out = set(idle[wanted:])
        at_least = [each if place in left_out else 1 for place, each in enumerate(forced)]
        counts = _counts(candidates, contest, taken, at_least)
    if all(counts):
        return taken, counts
    return taken[np.array(counts) > 0], [count for count in counts if count]


def _counts(candidates: Candidates, contest: Contest, taken: Ints, at_least: Sequence[int]) -> list[int]:
    """How many replicas each of the taken gets."""
    seats = contest.replicas or 0
    names: list[str] = candidates.some("id", taken)
    room = contest.capacity[taken].tolist()
    division = candidates.spec.replicas.division
    held = contest.held[taken].tolist() if division == "Weighted" else _staying(candidates, contest, taken)
    base = [max(count, least) for count, least in zip(held, at_least, strict=True)]
    weights: Sequence[int] = weights_of(candidates)[taken].tolist() if division == "Weighted" else base
    if sum(base) > seats:
        if division == "Weighted":
            return webster(seats, weights, names, base, at_least)
        return _taken_away(candidates, taken, seats, base, at_least)
    if division == "Aggregated":
        return fill(seats, room, base)
    if division == "Weighted":
        return webster(seats, weights, names, room, base)
    if not any(held):
        return webster(seats, room, names, room, base)
    spare = [most - count for most, count in zip(room, base, strict=True)]
    more = webster(seats - sum(base), spare, names, spare, [0] * len(names))
    return [count + extra for count, extra in zip(base, more, strict=True)]


def _staying(candidates: Candidates, contest: Contest, taken: Ints) -> list[int]:
    """What stays of what runs where targets are better or worse, and not their shares."""
    if not candidates.request.previous:
        return [0] * len(taken)
    staying: list[int] = np.minimum(runs_there(candidates), contest.capacity)[taken].tolist()
    return staying


def _taken_away(
    candidates: Candidates, taken: Ints, seats: int, held: Sequence[int], at_least: Sequence[int]
) -> list[int]:
    """Fewer replicas than there are: of a Placement with tiers, those in the last go first; within one, what is there
    shrinks in proportion, or Aggregated empties the least."""
    counts, names = list(held), candidates.some("id", taken)
    tier = places(candidates)
    groups = [0] * len(counts) if tier is None else tier[taken].tolist()
    for group in sorted(set(groups), reverse=True):
        members = [place for place, each in enumerate(groups) if each == group]
        there, least = [counts[each] for each in members], [at_least[each] for each in members]
        left = max(seats - (sum(counts) - sum(there)), sum(least))
        if left >= sum(there):
            break
        if candidates.spec.replicas.division == "Aggregated":
            fewer = _emptied(left, there, least)
        else:
            fewer = webster(left, there, [names[each] for each in members], there, least)
        for each, count in zip(members, fewer, strict=True):
            counts[each] = count
    return counts


def _emptied(seats: int, held: Sequence[int], at_least: Sequence[int]) -> list[int]:
    """Fewer replicas than there are: those that hold least are emptied first, of equals the last."""
    counts, over = list(held), sum(held) - seats
    for place in sorted(range(len(held)), key=lambda place: (held[place], -place)):
        gone = min(over, counts[place] - at_least[place])
        counts[place] -= gone
        over -= gone
    return counts

"""Resource: how the request sits in what a target has, by kube-scheduler's formulas, in doubles."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, BadArguments, number
from shared.columns import Floats

DEFAULT_RESOURCES = {"cpu": 1.0, "memory": 1.0}
MODES = ("LeastAllocated", "MostAllocated", "BalancedAllocation", "RequestedToCapacityRatio")
NATIVE = frozenset({"cpu", "memory", "pods", "ephemeral-storage"})


def resource(candidates: Candidates, args: Args) -> Floats | None:
    """Points by `mode`, over `resources` (`[{name, weight}]`, cpu and memory alike by default).

    u is used / allocatable with the request counted in; a resource that a target does not have is left out there.
    LeastAllocated: the weighted mean of 100·(1 − u), 0 above capacity. MostAllocated: of 100·u, 100 above capacity.
    BalancedAllocation: 50 + (50 + with − without) / 2, where each is 100·(1 − standard deviation of u, at most 1 each)
    with the request and without it, as kube-scheduler 1.36 has it. RequestedToCapacityRatio: `shape`
    (`[{utilization: 0..100, score: 0..10}]`) at 100·u, interpolated; resources that score 0 are left out.
    Without `mode`, MostAllocated for the strategy Binpack and LeastAllocated for the others.
    """
    mode = args.get("mode", "MostAllocated" if candidates.spec.strategy.type == "Binpack" else "LeastAllocated")
    if mode not in MODES:
        raise BadArguments(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    listed = _weights(args)
    asked = expected(candidates, listed)
    weights = {name: weight for name, weight in listed.items() if name in NATIVE or np.any(asked[name])}
    if not weights:
        return np.zeros(len(candidates))
    fractions = _fractions(candidates, weights, asked)
    if mode == "BalancedAllocation":
        before = _fractions(candidates, weights, dict.fromkeys(weights, 0.0))
        return 50.0 + (50.0 + _balance(fractions) - _balance(before)) / 2.0
    if mode == "LeastAllocated":
        points = np.subtract(1.0, fractions, out=fractions)
        np.multiply(np.maximum(points, 0.0, out=points), 100.0, out=points)
    elif mode == "MostAllocated":
        points = 100.0 * np.minimum(fractions, 1.0)
    else:
        points = _shaped(fractions, args)
    return _weighted_mean(points, list(weights.values()))


def expected(candidates: Candidates, resources: Iterable[str]) -> dict[str, float | Floats]:
    """How much of resources a target would be asked for: everything, or an even share where replicas are divided."""
    replicas = candidates.demands.divided
    if replicas is None:
        return {name: candidates.demands.total(name) for name in resources}
    _, most = candidates.spec.targets.bounds(len(candidates))
    shares = max(min(len(candidates) if most is None else most, len(candidates)), 1)
    return {name: candidates.demands.of(name, -(-replicas // shares)) for name in resources}


def _fractions(candidates: Candidates, names: Collection[str], asked: Mapping[str, float | Floats]) -> Floats:
    """Used / allocatable with the request counted in, a row for each resource; NaN where the target has none of it."""
    fractions = np.empty((len(names), len(candidates)))
    for row, name in zip(fractions, names, strict=True):
        np.divide(candidates.used(name) + asked[name], candidates.values("allocatable_or_nan", name), out=row)
    return fractions


def _weighted_mean(points: Floats, weights: Sequence[float]) -> Floats:
    """Of each column, over the rows that are known there; 0 where none is."""
    each = np.array(weights, np.float64)[:, None]
    unknown = np.isnan(points)
    if not np.count_nonzero(unknown):
        return np.asarray((points * each).sum(axis=0) / each.sum(axis=0), np.float64)
    weighing = np.where(unknown, 0.0, each)
    points[unknown] = 0.0
    weight = weighing.sum(axis=0)
    total = (points * weighing).sum(axis=0)
    return np.asarray(total / np.where(weight > 0, weight, 1.0), np.float64)


def _balance(fractions: Floats) -> Floats:
    """100·(1 − population standard deviation over the resources that the target has)."""
    used = np.minimum(fractions, 1.0)
    known = ~np.isnan(used)
    count = known.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.where(known, used, 0.0).sum(axis=0) / some
    variance = np.where(known, (used - mean) ** 2, 0.0).sum(axis=0) / some
    return np.asarray(100.0 * (1.0 - np.sqrt(variance)), np.float64)


def _shaped(used: Floats, args: Args) -> Floats:
    shape = args.get("shape")
    if not isinstance(shape, list | tuple) or not shape or not all(isinstance(point, Mapping) for point in shape):
        raise BadArguments("RequestedToCapacityRatio needs a shape: a list of {utilization, score}")
    utilization = [number(point, "utilization", -1.0) for point in shape]
    score = [number(point, "score", -1.0) for point in shape]
    if not all(0 <= each <= 100 for each in utilization) or utilization != sorted(set(utilization)):
        raise BadArguments("shape: utilization must ascend within 0..100")
    if not all(0 <= each <= 10 for each in score):
        raise BadArguments("shape: score must be within 0..10")
    points = 10.0 * np.interp(100.0 * np.minimum(used, 1.0), utilization, score)
    return np.where((points > 0) & ~np.isnan(used), points, np.nan)  # np.interp gives the last score for NaN


def _weights(args: Args) -> dict[str, float]:
    listed: Any = args.get("resources")
    if listed is None:
        return DEFAULT_RESOURCES
    if (
        not isinstance(listed, list | tuple)
        or not listed
        or not all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in listed)
    ):
        raise BadArguments("resources must be a list of {name, weight}")
    weights = {each["name"]: number(each, "weight", 1.0) for each in listed}
    if not all(0 < weight <= 100 for weight in weights.values()):
        raise BadArguments("resources: a weight must be above 0 and at most 100")
    return weights

"""Load: how idle a target is observed to be, whatever was requested there."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args
from shared.columns import Floats

OBSERVED = ("cpu", "memory", "pods")


def load(candidates: Candidates, args: Args) -> Floats | None:  # noqa: ARG001 - every scorer has this signature
    """100 · (1 − observed use / allocatable), of the busiest of cpu, memory and pods.

    A resource whose use is not measured does not count; a target where none is, is unknown.
    """
    used = [
        candidates.values("usage", resource) / candidates.values("allocatable_or_nan", resource)
        for resource in OBSERVED
    ]
    busiest: Floats = np.fmax.reduce(used)  # of NaN and a number, it takes the number
    return 100.0 * (1.0 - busiest)

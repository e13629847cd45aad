"""Steady: points for staying."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args
from shared.columns import Floats


def steady(candidates: Candidates, args: Args) -> Floats | None:  # noqa: ARG001 - every scorer has this signature
    """100 where the placement is already, 0 elsewhere; abstains on a first placement.

    Its weight is derived from `stability.stickiness`, so that staying is worth exactly that many points of the total.
    """
    return np.where(candidates.previous, 100.0, 0.0) if candidates.request.previous else None

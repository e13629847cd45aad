"""Custom:<name>: a score that anyone keeps in `SyncTarget.status.scores`."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, Scorer
from shared.columns import Floats

PREFIX = "Custom:"


def custom(name: str) -> Scorer:
    """The scorer that reads the score `name`; it abstains for targets that have none, or one that has expired."""

    def score(candidates: Candidates, args: Args) -> Floats:  # noqa: ARG001 - every scorer has this signature
        values: Floats = candidates.values("score", name)
        return np.where(candidates.values("valid_until", name) > candidates.now, values, np.nan)

    return score

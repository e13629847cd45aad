"""Custom:<name>: a score that anyone keeps in `SyncTarget.status.scores`."""

import numpy as np

from services.scheduler.round import Round
from services.scheduler.scorers.scorer import Args, Scorer
from shared.columns import Floats

PREFIX = "Custom:"


def custom(name: str) -> Scorer:
    """The scorer that reads the score `name`; it abstains for targets that have none, or one that has expired."""

    def score(round: Round, args: Args) -> Floats:  # noqa: ARG001 - every scorer has this signature
        values: Floats = round.values("score", name)
        return np.where(round.values("valid_until", name) > round.now, values, np.nan)

    return score

"""Readiness: targets that are not ready, or lost."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def not_ready(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets that are not ready, unless the placement runs there and need not leave yet (`Request.leaving`).

    A target that is reachable but not ready may recover, and a lost one is waited for as long as it is tolerated:
    the controller says when that ended.
    """
    out = ~(candidates.values("ready") | candidates.waited_for)
    if np.count_nonzero(out):
        lost = candidates.values("lost_since") > 0.0
        yield Exclusion("Lost", "lost", out & lost)
        yield Exclusion("NotReady", "not ready", out & ~lost)

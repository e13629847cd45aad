"""Preempted: targets that the placement has to leave for others, and those others take."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def preempted(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets in which the room is for others, of higher priority, as decision has it."""
    for target, who in candidates.request.preempted.items():
        position = candidates.position(target)
        if position is not None:
            excluded = np.zeros(len(candidates), np.bool_)
            excluded[position] = True
            yield Exclusion("Preempted", f"to be left for {who}", excluded)

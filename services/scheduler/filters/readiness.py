"""Readiness: targets that are not ready, or lost for longer than is tolerated."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def not_ready(round: Round) -> Iterator[Verdict]:
    """Targets that are not ready.

    A placement that runs on one already stays: a target that is reachable but not ready may recover, and a lost one
    is waited for as long as the target's `evictAfter`, the placement's toleration or the default says.
    """
    ready, lost_since = round.values("ready"), round.values("lost_since")
    lost = ~ready & (lost_since > 0.0)
    overdue = lost & (round.now - lost_since >= round.tolerance())
    yield Verdict("Lost", "lost", lost & (overdue | ~round.previous))
    yield Verdict("NotReady", "not ready", ~ready & ~lost & ~round.previous)

"""BestFit: the best targets."""

from services.scheduler.selection import Contest
from shared.columns import Ints


def best_fit(contest: Contest) -> Ints:
    """As many targets as may be taken, best first."""
    return contest.gather(contest.most)

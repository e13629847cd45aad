"""Spread: the emptiest domain first."""

from services.scheduler.selection import Contest
from shared.columns import Ints


def spread(contest: Contest) -> Ints:
    """As many targets as may be taken, one domain after the other, the best within each."""
    return contest.gather(contest.most, even=True)

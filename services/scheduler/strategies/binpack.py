"""Binpack: the fewest targets."""

from services.scheduler.selection import Contest
from shared.columns import Ints


def binpack(contest: Contest) -> Ints:
    """As few targets as will do; the scorer Resource ranks the fullest first."""
    return contest.gather_fewest()

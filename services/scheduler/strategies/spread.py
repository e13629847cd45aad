"""Spread: the emptiest domain first."""

from services.scheduler.choosing import Chosen, choose
from services.scheduler.selection import Contest


def spread(contest: Contest) -> Chosen:
    """As many targets as may be taken, one domain after the other, the best within each."""
    return choose(contest, even=True)

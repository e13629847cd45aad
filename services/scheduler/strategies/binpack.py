"""Binpack: the fewest targets."""

from services.scheduler.choosing import Chosen, choose
from services.scheduler.selection import Contest


def binpack(contest: Contest) -> Chosen:
    """As few targets as will do; the scorer Resource ranks the fullest first."""
    return choose(contest, few=True)

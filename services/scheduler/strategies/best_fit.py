"""BestFit: the best targets."""

from services.scheduler.choosing import Chosen, choose
from services.scheduler.selection import Contest


def best_fit(contest: Contest) -> Chosen:
    """As many targets as may be taken, best first."""
    return choose(contest)

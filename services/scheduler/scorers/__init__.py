"""Scorers: how good each feasible target is. One function per file, all listed here.

`Custom:<name>` is a family: every name stands for the score of that name that anyone keeps on SyncTargets.
"""

from services.scheduler.scorers.affinity import affinity
from services.scheduler.scorers.cost import cost
from services.scheduler.scorers.custom import PREFIX, custom
from services.scheduler.scorers.latency import latency
from services.scheduler.scorers.load import load
from services.scheduler.scorers.locality import locality
from services.scheduler.scorers.resource import resource
from services.scheduler.scorers.scorer import Args, BadArguments, Scorer
from services.scheduler.scorers.spread import spread
from services.scheduler.scorers.steady import steady

SCORERS: dict[str, Scorer] = {
    "Resource": resource,
    "Affinity": affinity,
    "Load": load,
    "Latency": latency,
    "Locality": locality,
    "Cost": cost,
    "Spread": spread,
    "Steady": steady,
}


def find(name: str) -> Scorer | None:
    """The scorer of that name, or None."""
    if name.startswith(PREFIX) and len(name) > len(PREFIX):
        return custom(name.removeprefix(PREFIX))
    return SCORERS.get(name)


__all__ = ["PREFIX", "SCORERS", "Args", "BadArguments", "Scorer", "find"]

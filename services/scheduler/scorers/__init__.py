"""Scorers: how good each feasible target is. One function per file, all listed here.

Two are families: `Custom:<name>` is the score of that name that anyone keeps on SyncTargets, `Plugin:<name>` a
scorer in another process.
"""

from collections.abc import Callable

from services.scheduler.scorers.affinity import affinity
from services.scheduler.scorers.amount import amount
from services.scheduler.scorers.cost import cost
from services.scheduler.scorers.custom import PREFIX as CUSTOM
from services.scheduler.scorers.custom import custom
from services.scheduler.scorers.latency import latency
from services.scheduler.scorers.load import load
from services.scheduler.scorers.locality import locality
from services.scheduler.scorers.plugin import PREFIX as PLUGIN
from services.scheduler.scorers.plugin import plugin
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
    "Amount": amount,
    "Spread": spread,
    "Steady": steady,
}

BY_FACTS = frozenset({"Affinity", "Load", "Latency"})
"""Scorers that look at facts on targets alone, where nothing runs yet (see `Candidates.alike`)."""
BY_AMOUNTS = frozenset({"Resource"})
"""Scorers that look at what is taken and asked for too, and at nothing else (see `Candidates.same`)."""

FAMILIES: dict[str, Callable[[str], Scorer]] = {CUSTOM: custom, PLUGIN: plugin}

KNOWN = (*SCORERS, *(f"{prefix}<name>" for prefix in FAMILIES))
"""All names, for messages."""


def find(name: str) -> Scorer | None:
    """The scorer of that name, or None."""
    if name in SCORERS:
        return SCORERS[name]
    for prefix, family in FAMILIES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return family(name.removeprefix(prefix))
    return None


__all__ = ["BY_AMOUNTS", "BY_FACTS", "FAMILIES", "KNOWN", "SCORERS", "Args", "BadArguments", "Scorer", "find"]

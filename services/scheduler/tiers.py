"""Tiers of affinity: groups of targets that are tried in order."""

from dataclasses import dataclass

from services.scheduler.candidates import Candidates
from shared.columns import Bools


@dataclass(frozen=True)
class Tier:
    """One group: its name, and which candidates belong to it."""

    name: str
    members: Bools


def tiers(candidates: Candidates, kept: Bools) -> list[Tier]:
    """The Placement's tiers in the order in which they are tried; none where it has none.

    That is their own order. While the placement may not move, the first tier that holds all that it runs on (as far as
    these targets are `kept`) comes before the others: it leaves that one only when that cannot take it any more.
    """
    found = [Tier(each.name, candidates.any_of(each.required)) for each in candidates.spec.affinity.tiers]
    staying = candidates.previous & kept
    if not candidates.moves and staying.any():
        holds = [tier for tier in found if tier.members[staying].all()]
        found.sort(key=lambda tier: tier not in holds[:1])
    return found

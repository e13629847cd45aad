"""Tiers of affinity: groups of targets that are tried in order."""

from dataclasses import dataclass

from services.scheduler.round import Round
from shared.columns import Bools


@dataclass(frozen=True)
class Tier:
    """One group: its name, and which candidates belong to it."""

    name: str
    members: Bools


def tiers(round: Round, kept: Bools) -> list[Tier]:
    """The Placement's tiers in the order in which they are tried; none where it has none.

    That is their own order. While the placement may not move, the first tier that holds all that it runs on (as far as
    these targets are `kept`) comes before the others: it leaves that one only when that cannot take it any more.
    """
    found = [Tier(each.name, round.any_of(each.required)) for each in round.spec.affinity.tiers]
    staying = round.previous & kept
    if not round.moves and staying.any():
        holds = [tier for tier in found if tier.members[staying].all()]
        found.sort(key=lambda tier: tier not in holds[:1])
    return found

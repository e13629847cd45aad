"""What is said of strays: of what runs in a target and nobody decided."""

from typing import TYPE_CHECKING, NamedTuple

from shared.model.target import Stray, Target

if TYPE_CHECKING:  # what is pure needs no Kubernetes client at run time
    from shared.hub.events import EventType

REASON = "Strays"
NONE = "NoStrays"
_NAMED = 3
"""Placements that a sentence names."""


class StrayNews(NamedTuple):
    """An Event for the owner of the target."""

    type: "EventType"
    reason: str
    note: str


def sentence(strays: tuple[Stray, ...]) -> str:
    """How many there are, and some of the placements that they belong to."""
    some = ", ".join(sorted(str(stray.placement) for stray in strays)[:_NAMED])
    return f"{len(strays)} that nobody decided: {some}"


def news(before: Target | None, target: Target) -> StrayNews | None:
    """What is to be told now of a target's strays; None where they are the same as before."""
    known = before.strays if before is not None and before.uid == target.uid else ()
    if set(known) == set(target.strays):
        return None
    if target.strays:
        return StrayNews("Warning", REASON, sentence(target.strays))
    return StrayNews("Normal", NONE, "nothing runs here any more that nobody decided")

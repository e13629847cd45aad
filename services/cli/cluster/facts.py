"""Facts on clusters and what is in them, as objects on the hub have them. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from services.cli.support.draining import DRAIN
from shared.api import Placement, PlacementBinding, SyncTarget, get_condition, tolerates
from shared.model.refs import PlacementRef

NAMED: Final = 5
"""Placements that a sentence names."""


class Occupant(NamedTuple):
    """A placement that has something in a target (by its id), and the binding that says what."""

    placement: PlacementRef
    target: str
    binding: PlacementBinding


def readiness(target: SyncTarget) -> tuple[bool, str]:
    """Whether a target is Ready, and why not."""
    found = get_condition(target.status.conditions, "Ready")
    if found is None:
        return False, "nobody has looked at it yet: is discovery running?"
    return found.status == "True", found.message or found.reason


def tolerating(placement: Placement) -> bool:
    """Whether a placement stays in a target that is drained, for good: as Kubernetes has it, the first toleration that
    matches says for how long."""
    found = next((each for each in placement.spec.targets.tolerations if tolerates(each, DRAIN)), None)
    return found is not None and found.toleration_seconds is None


def short(ref: PlacementRef) -> str:
    """A placement as people name it: without workspaces, `namespace/name`."""
    return str(ref).removeprefix("/")


def some(placements: Iterable[PlacementRef]) -> str:
    """A few of these, for a sentence."""
    names = [short(each) for each in dict.fromkeys(placements)]
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")

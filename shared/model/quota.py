"""Quotas: how much placements of a workspace, and of all below it, may together reserve in one target.

A quota goes by the path of its workspace: `root:team` stands for that and all below it, `root:team!` for it alone, the
empty path for every workspace. All quotas of a target that a workspace lies in hold.
"""

import math
from collections.abc import Iterable, Mapping

from shared.model.decision import Reservation
from shared.model.resources import Resources, add


def enclosing(workspace: str) -> tuple[str, ...]:
    """The paths that a workspace lies in, the widest first: `""`, `root`, `root:team`, `root:team!`."""
    parts = workspace.split(":") if workspace else []
    above = (":".join(parts[:length]) for length in range(len(parts) + 1))
    return (*above, f"{workspace}!") if workspace else tuple(above)


def lies_in(workspace: str, path: str) -> bool:
    """True if a workspace lies in a path: whether the path is one of those `enclosing` it."""
    if path.endswith("!"):
        return workspace == path[:-1]
    return not path or workspace == path or workspace.startswith(f"{path}:")


def left(quotas: Mapping[str, Resources], workspace: str, others: Iterable[Reservation]) -> Resources:
    """The amounts that a target's quotas leave for one more placement of a workspace beside `others` in that target.

    A resource that none of them names is not in the answer: it has no bound. Negative where more is taken than the
    quota is by now.
    """
    found: Resources = {}
    for path in enclosing(workspace) if quotas else ():
        hard = quotas.get(path)
        if hard is None:
            continue
        taken = add(*(each.resources for each in others if lies_in(each.placement.workspace, path)))
        for name, most in hard.items():
            found[name] = min(found.get(name, math.inf), most - taken.get(name, 0.0))
    return found

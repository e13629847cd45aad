"""Quotas: how much placements of a workspace, and of all below it, may together reserve: in one target, or in all.

A quota goes by the path of its workspace: `root:team` stands for that and all below it, `root:team!` for it alone, the
empty path for every workspace. All quotas of a target that a workspace lies in hold.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping

import msgspec

from shared.broker.tokens import join
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef
from shared.model.resources import Resources, add, spoken, with_tolerance
from shared.model.value import Value

PLACEMENTS = "placements"
"""What a quota over all targets calls the number of placements."""
MOST_SAID = 3
"""Resources that are named where a quota leaves too little."""


class WorkspaceQuota(Value, frozen=True, kw_only=True):
    """A PlacementQuota: the most that placements of some workspaces may together take of all targets.

    It is in `workspace`, and `bounds` is the path of another one below that, which is bounded together with all below
    it; both are empty on a hub without workspaces. With a `namespace`, that one alone counts, in each of them.
    """

    workspace: str
    name: str
    uid: str
    bounds: str
    namespace: str = ""
    hard: Resources

    def __str__(self) -> str:
        return f"{self.name} of {self.workspace}" if self.workspace else self.name

    @property
    def place(self) -> str:
        """The prefix of the keys of what is charged to it. One of the same name that is made anew has another."""
        return join(self.workspace, self.uid)

    def covers(self, placement: PlacementRef) -> bool:
        """Whether it bounds a placement."""
        return self.namespace in ("", placement.namespace) and lies_in(placement.workspace, self.bounds)


class Shortage(Value, frozen=True, kw_only=True):
    """A quota that leaves too little: how much of it is used, and how much more is asked for. `str` is for people."""

    quota: str
    hard: Resources
    used: Resources
    asked: Resources

    def __str__(self) -> str:
        names = sorted(self.asked)
        said = (
            f"{spoken(name, self.used.get(name, 0.0))} of {spoken(name, self.hard[name])} {name} used and"
            f" {spoken(name, self.asked[name])} more asked for"
            for name in names[:MOST_SAID]
        )
        return f"the quota {self.quota} over all clusters leaves too little: {', '.join(said)}"


def shortage(quota: WorkspaceQuota, used: Resources, more: Resources) -> Shortage | None:
    """What a quota lacks for `more` than what is `used`; None where it does, or where nothing of what it names is asked
    for: where it was lowered below what is used, that stays."""
    short = {
        name: amount
        for name, amount in more.items()
        if name in quota.hard and amount > 0 and amount > with_tolerance(quota.hard[name] - used.get(name, 0.0))
    }
    return Shortage(quota=str(quota), hard=quota.hard, used=used, asked=short) if short else None


def growth(wanted: Mapping[str, Resources], held: Mapping[str, Resources]) -> Resources:
    """How much more a placement takes, target by target: what it leaves in one is no room for it in another, as it
    stays there until it is removed."""
    return add(
        *(
            {name: max(0.0, amount - held.get(target, {}).get(name, 0.0)) for name, amount in resources.items()}
            for target, resources in wanted.items()
        )
    )


def digest_of(wanted: Mapping[str, Resources]) -> str:
    """Stands for what a placement wants, by target."""
    return hashlib.sha256(msgspec.json.encode(wanted, order="deterministic")).hexdigest()[:16]


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

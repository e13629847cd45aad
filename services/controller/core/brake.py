"""The brake: when most targets are lost at once, it is our own network that is broken, and nothing is moved for that.

Kubernetes' node controller does the same, from 55 % of a zone's nodes on, three at least. We look at the targets that
one workspace offers, at those in one region, and at all.

Whoever may offer targets may also lose them. So regions, and the whole, are judged by branches of the tree of
workspaces: each counts as one with its own share, however many targets, or workspaces below it, it is made of. And a
target is held by them only where most of what its own workspace has there is lost too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from shared.model.target import Target

REGION = "topology.kubernetes.io/region"
LEAST = 3
"""Targets that must be lost at once: of one or two, most are lost when one is."""

Path = tuple[str, ...]


class Braked(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing moves: `lost` of the `total` targets of a scope were lost at once. `scope` is for people."""

    scope: str
    lost: int
    total: int


class BrakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`share`: more than this is too much (0 to 1; with 1 there is no brake). `window`: losses with no longer a pause
    in between, in seconds, count as one."""

    share: float
    window: float


def brake(targets: Iterable[Target], settings: BrakeSettings) -> dict[str, Braked]:
    """The lost targets, by id, that nothing is moved away from, and why.

    A target that a copy of discovery cannot reach counts before all agree that it is lost: of many, one is the first.
    """
    found: dict[str, Braked] = {}
    for scope, members in _scopes(targets).items():
        for burst in _bursts(members, settings.window):
            began = _since(burst[0])
            # What was lost long before counts for neither side: whatever ran there has moved since.
            there = [each for each in members if not _since(each) or _since(each) >= began]
            at_once = {each.id for each in burst}
            shares = [(tuple(each.workspace.split(":")), each.id in at_once) for each in there]
            if len(burst) >= LEAST and _share(shares) > settings.share:
                lost = [each for each in there if _since(each)]
                why = Braked(scope=scope, lost=len(lost), total=len(there))
                own = Counter(each.workspace for each in there)
                own_lost = Counter(each.workspace for each in lost)
                held = [each.id for each in lost if own_lost[each.workspace] > settings.share * own[each.workspace]]
                found = {**dict.fromkeys(held, why), **found}
                break
    return found


def _since(target: Target) -> float:
    """Since when it is lost, or may be; 0 when it is neither."""
    return target.lost_since or target.doubted_at


def _scopes(targets: Iterable[Target]) -> Mapping[str, list[Target]]:
    """Targets by scope, the narrowest first; none where nothing is lost."""
    everything = list(targets)
    if not any(_since(each) for each in everything):
        return {}
    scopes: dict[str, list[Target]] = {}
    for each in everything:
        scopes.setdefault(f"workspace {each.workspace or 'hub'}", []).append(each)
    for each in everything:
        if region := each.labels.get(REGION):
            scopes.setdefault(f"region {region}", []).append(each)
    return {**scopes, "the whole inventory": everything}


def _bursts(targets: Iterable[Target], window: float) -> Iterator[list[Target]]:
    """The lost targets in groups, the oldest first: within one, no pause between losses is longer than the window."""
    burst: list[Target] = []
    for each in sorted(filter(_since, targets), key=_since):
        if burst and _since(each) - _since(burst[-1]) > window:
            yield burst
            burst = []
        burst.append(each)
    if burst:
        yield burst


def _share(targets: Sequence[tuple[Path, bool]]) -> float:
    """The lost share of targets, by their paths in a tree: the mean over what a node has itself and its branches."""
    own = [lost for path, lost in targets if not path]
    branches: dict[str, list[tuple[Path, bool]]] = {}
    for path, lost in targets:
        if path:
            branches.setdefault(path[0], []).append((path[1:], lost))
    parts = [sum(own) / len(own)] if own else []
    parts += [_share(branch) for branch in branches.values()]
    return sum(parts) / len(parts)

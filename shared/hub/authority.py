"""What the author of a PlacementOverride may do where it is, and in which targets a requester may have others leave;
asked on their behalf, never on ours.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from shared.api import PlacementOverride
from shared.hub.access import Access, Action
from shared.hub.overriding import FROM_THE_TARGETS, Authority
from shared.hub.requester import requester_of
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.model.refs import TargetRef
from shared.model.request import Requester

VERB: Final = "override"
PREEMPT: Final = "preempt"
MOST_NAMED: Final = 256
"""Targets of a workspace that are asked about one by one, where the requester may not preempt in all of them."""


async def authority_of(access: Access, workspace: str, override: PlacementOverride) -> Authority:
    """What its author may do: with the one Placement that it names, or with all of the workspace that it is in; where
    that is nothing, with the targets that it names there. Raises nothing.
    """
    author, named = requester_of(override), override.spec.placement_ref
    action = Action(VERB, PLACEMENTS)
    if named is not None:
        action = Action(VERB, PLACEMENTS, namespace=named.namespace or "default", name=named.name)
    placements = await access.may(author, workspace, action)
    if placements == "Allowed" or override.spec.type not in FROM_THE_TARGETS:
        return Authority(placements=placements)
    names = sorted({each.name for each in override.spec.targets if each.workspace in ("", workspace)})
    answers = await asyncio.gather(
        *(access.may(author, workspace, Action(VERB, SYNCTARGETS, name=name)) for name in names)
    )
    return Authority(placements=placements, targets=dict(zip(names, answers, strict=True)))


async def may_preempt(access: Access, requester: Requester | None, targets: Collection[str]) -> set[str]:
    """In which of the targets, by id, a requester may have others leave, and its priority counts: those for which it
    has the verb `preempt`. What nobody can say counts as no. Raises nothing.
    """
    by_workspace: dict[str, list[str]] = {}
    for target in sorted(targets):
        by_workspace.setdefault(TargetRef.parse(target).workspace, []).append(target)

    async def in_workspace(path: str, those: list[str]) -> set[str]:
        whole = await access.may(requester, path, Action(PREEMPT, SYNCTARGETS))
        if whole != "Denied":
            return set(those) if whole == "Allowed" else set()
        some = those[:MOST_NAMED]
        asked = (
            access.may(requester, path, Action(PREEMPT, SYNCTARGETS, name=TargetRef.parse(each).name)) for each in some
        )
        answers = await asyncio.gather(*asked)
        return {target for target, answer in zip(some, answers, strict=True) if answer == "Allowed"}

    found = await asyncio.gather(*(in_workspace(path, those) for path, those in by_workspace.items()))
    return set().union(*found)

"""What the author of a PlacementOverride may do where it is; asked on the author's behalf, never on ours."""

import asyncio
from typing import Final

from shared.api import PlacementOverride
from shared.hub.access import Access, Action
from shared.hub.overriding import FROM_THE_TARGETS, Authority
from shared.hub.requester import requester_of
from shared.hub.resources import PLACEMENTS, SYNCTARGETS

VERB: Final = "override"


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

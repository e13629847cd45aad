"""Upkeep that no message asks for: leftovers of workers that died, entries past their use, workspaces that are gone."""

import logging

from services.decision import core
from services.decision.decider import Decider
from shared.kube.errors import KubeError
from shared.model.refs import Head, PlacementRef
from shared.pipeline.messages import Assigned

log = logging.getLogger("moorage.decision")

FORGOTTEN_AT_ONCE = 10_000
"""Released reservations that are deleted in one go, which takes some seconds."""


async def release_leftovers(decider: Decider) -> None:
    """Give back what nobody decided or what is bound nowhere any more."""
    stale: dict[PlacementRef, Head] = {}
    for _, reservation in decider.ledger.holders():
        newest = decider.newest(reservation)
        if reservation.head.older_than(newest):
            stale[reservation.placement] = newest
    for ref, head in stale.items():
        try:
            status, _ = await decider.decisions.read(ref)
            present = await decider.decisions.bound(ref)
        except KubeError as error:
            log.warning("reservations are looked at again later", extra={"of": str(ref), "error": str(error)})
        else:
            await decider.release_all_but(ref, head, core.selected_ids(status) | present)


async def forget_released(decider: Decider) -> None:
    """Delete what was released so long ago that nobody can be about to take it with an older head."""
    before = decider.clock() - decider.settings.forget_released_seconds
    await decider.ledger.forget_released(before, FORGOTTEN_AT_ONCE)


async def clear_vanished(decider: Decider) -> list[Assigned]:
    """Removals of what placements hold whose workspaces are gone, with all that could be asked there.

    They are told again until binding has done it, since a target may be out of reach for longer than messages live.
    """
    holders = list(decider.ledger.holders())
    followed = {entry.value.path for entry in decider.workspaces.entries.values()}
    gone = await decider.vanished.among({each.placement.workspace for _, each in holders} - followed)
    return [
        core.vanished(target, each, decider.newest(each))
        for target, each in holders
        if each.placement.workspace in gone
    ]

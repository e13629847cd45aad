"""Upkeep that no message asks for: leftovers of workers that died, entries past their use, workspaces that are gone."""

import logging

import msgspec

from services.decision import assigning, core
from services.decision.book import Crowded
from services.decision.decider import Decider
from shared.broker.bus import Retry
from shared.kube.errors import ApiError, KubeError
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.resources import fits
from shared.pipeline.messages import Assigned

log = logging.getLogger("moorage.decision")

FORGOTTEN_AT_ONCE = 10_000
"""Released reservations that are deleted in one go, which takes some seconds."""


async def release_leftovers(decider: Decider) -> list[Assigned]:
    """Give back what was applied smaller, and have removed what nobody decided or what is bound nowhere any more:
    workers die halfway. What is removed is given back when binding says so.

    Only where that is older than what is read: what a newer attempt holds, or this one, may be about to be decided. So
    a round that began within `release_seconds` is left to itself: nothing has to be read while thousands are under way.
    """
    removals: list[Assigned] = []
    holders = [each for _, each in decider.ledger.holders()]
    stale = {
        each.placement: decider.newest(each)
        for each in holders
        if _questionable(each, decider) and not _just_begun(each.placement, decider)
    }
    for ref, newest in stale.items():
        try:
            removals += await _release_leftovers_of(ref, newest, decider)
        except (KubeError, Crowded) as error:
            log.warning("reservations are looked at again later", extra={"of": str(ref), "error": str(error)})
    return removals


def outdated(decider: Decider) -> int:
    """How many reservations are not what was decided last: 0 when nothing is under way."""
    return sum(_questionable(each, decider) for _, each in decider.ledger.holders())


def _questionable(held: Reservation, decider: Decider) -> bool:
    return held.shrinks_to is not None or held.head.older_than(decider.newest(held))


def _just_begun(ref: PlacementRef, decider: Decider) -> bool:
    known = decider.heads.get(ref.key)
    return known is not None and decider.clock() - known.requested_at < decider.settings.release_seconds


async def _release_leftovers_of(ref: PlacementRef, newest: Head, decider: Decider) -> list[Assigned]:
    known = await decider.decisions.read(ref)
    bindings = await decider.decisions.in_place(ref)
    if known is not None and not known.whole:
        return []  # it is decided anew before long
    status = known.status if known is not None else None
    if status is not None:
        read = msgspec.structs.replace(newest, attempt=status.attempt)
    elif await decider.decisions.exists(ref):
        return []  # its first decision may be under way
    else:
        read = newest
    removals = []
    wanted = bindings.keys() | core.selected_ids(status)
    decided = {TargetRef.of(each.target).id: each.reserved for each in status.selected} if status is not None else {}
    for prefix, held in decider.ledger.held(ref).items():
        target = TargetRef.from_key(prefix).id
        found = bindings.get(target)
        if found is not None and found.attempt:
            await decider.ledger.shrink(prefix, ref, found.attempt, decided.get(target))
            if target in decided and found.reserved and fits(found.reserved, decided[target]):
                await decider.ledger.cut(prefix, ref, read.attempt, decided[target])
        if target in wanted:
            continue
        if held.head.older_than(read):
            removal = assigning.removal(ref, newest, target, orphan=held.orphan)
            removals.append(assigning.holding(removal, {target: held}))
    return removals


async def put_in_order(decider: Decider) -> None:
    """Bring the PlacementDecisions of each workspace into today's shape: once in the life of this process, and again
    where a workspace comes back."""
    paths = {entry.value.path for entry in decider.workspaces.entries.values()}
    decider.in_order &= paths
    for path in sorted(paths - decider.in_order):
        try:
            await decider.decisions.put_in_order(path)
        except ApiError as error:
            if not error.not_found:  # a workspace without our kinds has nothing decided
                log.warning("decisions are put in order later", extra={"workspace": path, "error": str(error)})
                continue
        except (KubeError, Retry) as error:
            log.warning("decisions are put in order later", extra={"workspace": path, "error": str(error)})
            continue
        decider.in_order.add(path)


async def emit(decider: Decider) -> None:
    """Have what SIG Multicluster reads of each workspace say what is decided there."""
    for path in sorted(entry.value.path for entry in decider.workspaces.entries.values()):
        await decider.decisions.emit(path)


async def put_requests_in_order(decider: Decider) -> None:
    """Withdraw ClusterRequests that nobody wants any more, where there may be any."""
    await decider.decisions.requests.put_in_order({entry.value.path for entry in decider.workspaces.entries.values()})


async def forget_released(decider: Decider) -> None:
    """Delete what was released so long ago that nobody can be about to take it with an older head."""
    before = decider.clock() - decider.settings.forget_released_seconds
    await decider.ledger.forget_released(before, FORGOTTEN_AT_ONCE)
    await decider.charges.forget_released(before, FORGOTTEN_AT_ONCE)


async def clear_vanished(decider: Decider) -> list[Assigned]:
    """Removals of what placements hold whose workspaces are gone, with all that could be asked there.

    They are told again until binding has done it, since a target may be out of reach for longer than messages live.
    """
    holders = list(decider.ledger.holders())
    followed = {entry.value.path for entry in decider.workspaces.entries.values()}
    gone = await decider.vanished.among({each.placement.workspace for _, each in holders} - followed)
    return [
        assigning.vanished(target, each, decider.newest(each))
        for target, each in holders
        if each.placement.workspace in gone
    ]

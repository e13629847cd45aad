"""Upkeep of what is charged to quotas: what targets have back, what workers that died left, quotas that come and go."""

import asyncio
import contextlib
import logging
from typing import Final

from services.decision.book import Crowded
from services.decision.completeness import Incomplete
from services.decision.decider import Decider
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.kube.errors import KubeError
from shared.model.quota import WorkspaceQuota
from shared.model.refs import Head, PlacementRef
from shared.model.resources import fits

log = logging.getLogger("moorage.decision")

AGAIN: Final = 1.0
"""Seconds between two looks for quotas that are not counted."""
_NO_HEAD: Final = Head(uid="", generation=0, attempt=0)
_FAILS: Final = (BusError, Conflict, Crowded, Incomplete, KubeError, OSError, TimeoutError)


async def give_back(decider: Decider) -> None:
    """Charge less for what targets have back, for each placement once however many targets that were.

    All is known by then that was reserved for the heads that gave back, and before.
    """
    if not decider.lighter:
        return
    lighter, decider.lighter = decider.lighter, {}
    try:
        since = await decider.completeness.since()
        await decider.ledger.catch_up()
        for placement, head in lighter.items():
            held = decider.ledger.holdings(placement, since)
            for quota in decider.quotas.of(placement):
                await decider.charges.give_back(quota.place, placement, head, held)
    except _FAILS as error:
        decider.lighter = {**lighter, **decider.lighter}
        log.info("quotas are charged less later", extra={"of": len(lighter), "error": str(error)})


async def keep_counted(decider: Decider) -> None:
    """Count what is used of each quota that is new, or of which that was lost; until cancelled."""
    while True:
        with contextlib.suppress(*_FAILS):
            await decider.charges.mend()
        for quota in [each for each in decider.quotas.all() if not decider.charges.counted(each)]:
            try:
                await _count(decider, quota)
            except _FAILS as error:
                log.warning("a quota is counted later", extra={"quota": str(quota), "error": str(error)})
        await asyncio.sleep(AGAIN)


async def _count(decider: Decider, quota: WorkspaceQuota) -> None:
    since = await decider.completeness.since()
    await decider.ledger.catch_up()
    for placement, head in _covered(decider, quota):
        await decider.charges.count(quota.place, placement, head, decider.ledger.holdings(placement, since), anew=True)
    await decider.completeness.check(since)
    await decider.charges.mark_counted(quota)
    log.info("a quota is counted", extra={"quota": str(quota)})


def _covered(decider: Decider, quota: WorkspaceQuota) -> list[tuple[PlacementRef, Head]]:
    """The placements that hold something and that a quota bounds, each with the newest head of what it holds."""
    found: dict[PlacementRef, Head] = {}
    for _, each in decider.ledger.holders():
        if each.placement.name and quota.covers(each.placement):
            known = found.get(each.placement)
            if known is None or known.older_than(each.head):
                found[each.placement] = each.head
    return list(found.items())


async def put_right(decider: Decider) -> None:
    """Charge quotas for what placements hold, no more and no less, and forget what is charged to those that are gone.

    More is charged than is held where workers died halfway; less, where something was decided as a quota came to be.
    While an attempt may be about to be decided, it stays charged. Where nothing is amiss, nothing is read or written.
    """
    quotas = {each.place: each for each in decider.quotas.all()}
    if not decider.quotas.view.incomplete:
        for place in decider.charges.places() - quotas.keys():
            with contextlib.suppress(*_FAILS):
                await decider.charges.forget(place)
    amiss = [(quota, placements) for quota in quotas.values() if (placements := _amiss(decider, quota))]
    if not amiss:
        return
    try:
        since = await decider.completeness.since()
        # First what is decided: what was reserved for that is known then.
        decided = {each: await _decided(decider, each) for _, placements in amiss for each in placements}
        await decider.ledger.catch_up()
        for quota, placements in amiss:
            for placement in placements:
                held = decider.ledger.holdings(placement, since)
                await decider.charges.count(quota.place, placement, _newest(decider, placement), held)
                await decider.charges.give_back(quota.place, placement, decided[placement], held)
    except _FAILS as error:
        log.warning("what is charged to quotas is put right later", extra={"error": str(error)})


def _amiss(decider: Decider, quota: WorkspaceQuota) -> list[PlacementRef]:
    """The placements that are charged otherwise than for what they hold, as far as is known here."""
    charged = {each.placement: each.resources for each in decider.charges.of(quota) if not each.until}
    charged |= {placement: {} for placement, _ in _covered(decider, quota) if placement not in charged}
    found = []
    for placement, resources in charged.items():
        held = decider.ledger.holdings(placement, 0).total
        if not (fits(held, resources) and fits(resources, held)):
            found.append(placement)
    return found


def _newest(decider: Decider, placement: PlacementRef) -> Head:
    """The newest head of what a placement holds in targets."""
    heads = (each.head for each in decider.ledger.held(placement).values())
    return max(heads, key=lambda head: head.attempt, default=_NO_HEAD)


async def _decided(decider: Decider, placement: PlacementRef) -> Head:
    """Up to which head nothing of a placement is about to be reserved any more."""
    known = await decider.decisions.read(placement)
    if known is not None:
        return Head(uid=known.uid, generation=0, attempt=known.status.attempt)
    if await decider.decisions.exists(placement):
        return _NO_HEAD  # its first decision may be under way
    entry = decider.heads.get(placement.key)
    return entry.head if entry is not None else _newest(decider, placement)

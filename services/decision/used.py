"""Upkeep of what is charged to quotas: what targets have back, what workers that died left, quotas that come and go."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final

from services.decision.book import Crowded
from services.decision.completeness import Incomplete
from services.decision.decider import Decider
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.kube.errors import KubeError
from shared.model.quota import WorkspaceQuota
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources, fits

log = logging.getLogger("moorage.decision")

AGAIN: Final = 1.0
"""Seconds between two looks for quotas that are not counted."""
AT_ONCE: Final = 64
"""Reservations or placements that are looked at in one go; others have their turn then."""
COUNTED_AT_ONCE: Final = 32
"""Quotas that are counted in one go through all reservations."""
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
        new = [each for each in decider.quotas.all() if not decider.charges.counted(each)]
        for start in range(0, len(new), COUNTED_AT_ONCE):
            some = new[start : start + COUNTED_AT_ONCE]
            try:
                await _count(decider, some)
            except _FAILS as error:
                log.warning("quotas are counted later", extra={"of": len(some), "error": str(error)})
        await asyncio.sleep(AGAIN)


async def _count(decider: Decider, quotas: Sequence[WorkspaceQuota]) -> None:
    since = await decider.completeness.since()
    await decider.ledger.catch_up()
    uncounted = {each.place: each for each in quotas}
    async for placement, head in _holding(decider):
        for quota in decider.quotas.of(placement):
            if quota.place in uncounted:
                held = decider.ledger.holdings(placement, since)
                try:
                    await decider.charges.count(quota.place, placement, head, held, anew=True)
                except _FAILS as error:
                    del uncounted[quota.place]  # which keeps no other one from being counted
                    log.warning("a quota is counted later", extra={"quota": str(quota), "error": str(error)})
    await decider.completeness.check(since)
    for quota in uncounted.values():
        await decider.charges.mark_counted(quota)
        log.info("a quota is counted", extra={"quota": str(quota)})


async def _holding(decider: Decider) -> AsyncIterator[tuple[PlacementRef, Head]]:
    """The placements that hold something, each with the newest head of that; others have their turn between."""
    found: dict[PlacementRef, Head] = {}
    for number, (_, each) in enumerate(list(decider.ledger.holders()), 1):
        known = found.get(each.placement)
        if each.placement.name and (known is None or known.older_than(each.head)):
            found[each.placement] = each.head
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    for number, (placement, head) in enumerate(found.items(), 1):
        yield placement, head
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


async def put_right(decider: Decider) -> None:
    """Charge quotas for what placements hold, no more and no less, and forget what is charged to those that are gone.

    More is charged than is held where workers died halfway; less, where something was decided as a quota came to be.
    While an attempt may be about to be decided, it stays charged. Where nothing is amiss, nothing is read or written.
    """
    if not decider.quotas.view.incomplete:
        for place in decider.charges.places() - {each.place for each in decider.quotas.all()}:
            with contextlib.suppress(*_FAILS):
                await decider.charges.forget(place)
    amiss = await _amiss(decider)
    if not amiss:
        return
    try:
        since = await decider.completeness.since()
        # First what is decided: what was reserved for that is known then.
        decided = {placement: await _decided(decider, placement) for placement in amiss}
        await decider.ledger.catch_up()
        for placement, quotas in amiss.items():
            held = decider.ledger.holdings(placement, since)
            for quota in quotas:
                await decider.charges.count(quota.place, placement, _newest(decider, placement), held)
                await decider.charges.give_back(quota.place, placement, decided[placement], held)
    except _FAILS as error:
        log.warning("what is charged to quotas is put right later", extra={"error": str(error)})


async def _amiss(decider: Decider) -> dict[PlacementRef, list[WorkspaceQuota]]:
    """The placements that are charged otherwise than for what they hold, as far as is known here, each with the quotas
    that they are charged to."""
    concerned: dict[PlacementRef, dict[str, WorkspaceQuota]] = {}
    for quota in decider.quotas.all():
        for each in decider.charges.of(quota):
            if not each.until:
                concerned.setdefault(each.placement, {})[quota.place] = quota
        await asyncio.sleep(0)
    async for placement, _ in _holding(decider):
        if bounding := decider.quotas.of(placement):
            concerned.setdefault(placement, {}).update((each.place, each) for each in bounding)
    amiss: dict[PlacementRef, list[WorkspaceQuota]] = {}
    for number, (placement, quotas) in enumerate(concerned.items(), 1):
        held = decider.ledger.holdings(placement, 0).total
        wrong = [quota for quota in quotas.values() if not _same(held, decider.charges.charged(quota, placement))]
        if wrong:
            amiss[placement] = wrong
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return amiss


def _same(one: Resources, other: Resources) -> bool:
    return fits(one, other) and fits(other, one)


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

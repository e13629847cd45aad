"""Reservations from PlacementDecisions and PlacementBindings: after a bucket was lost, nothing may be given away twice.

What is decided counts, and what is bound: what ran before may run on until what was decided is applied there, and what
nobody decided any more runs until it is removed.
"""

import asyncio
import contextlib
import logging

import msgspec

from services.decision.book import TRIES
from services.decision.completeness import MARKER, Completeness
from services.decision.kubernetes import Decisions
from services.decision.ledger import holding, key_of
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.kube.errors import ApiError, KubeError
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.resources import fits
from shared.pipeline.buckets import RESERVATIONS, WORKSPACES
from shared.pipeline.runtime import Runtime

log = logging.getLogger("moorage.decision")

WAIT = 1.0
PATIENCE = 30.0
"""Seconds after which a workspace that refuses us is passed over: we could not decide anything there either."""

LOOK = 5.0
"""Seconds between two looks at the marker, where nobody misses it. A purge of the stream is told to nobody."""


async def rebuild(
    runtime: Runtime, table: Table[Reservation], decisions: Decisions, patience: float = PATIENCE
) -> None:
    """Unless reservations are complete, make them so; waits until discovery has walked the workspaces.

    They are complete where the marker is there and all others can be read. What cannot be is made anew where somebody
    decided it, and else deleted: in its target nobody could reserve anything beside it.

    A hub that does not answer is waited for; a workspace that refuses us for `patience` seconds holds up nobody else.
    """
    unreadable = await table.unreadable()
    if await table.get(MARKER) is not None and not unreadable:
        return
    workspaces, view = await runtime.follow(WORKSPACES), await runtime.follow(RESERVATIONS)
    log.info("reservations are incomplete, rebuilding them from what is decided and bound")
    while not any(entry.value.root for entry in workspaces.entries.values()):
        await workspaces.moved(workspaces.revision)
    for path in sorted(entry.value.path for entry in workspaces.entries.values()):
        await _rebuild_workspace(path, table, decisions, patience)
    for raw in unreadable:
        with contextlib.suppress(Conflict):  # it was made anew
            await table.delete(raw.key, raw.revision)
    await _forget_phantoms(table, view)
    marker = Reservation(placement=_NOBODY, head=Head(uid="", generation=0, attempt=0), resources={})
    with contextlib.suppress(Conflict):  # another copy was faster
        await table.update(MARKER, marker, 0)
    log.info("reservations are complete", extra={"bucket": RESERVATIONS.name, "workspaces": len(workspaces.entries)})


async def keep_complete(
    runtime: Runtime, table: Table[Reservation], decisions: Decisions, completeness: Completeness
) -> None:
    """Rebuild whenever the marker goes or an entry becomes unreadable, until cancelled."""
    view = await runtime.follow(RESERVATIONS)
    runtime.background(_watch(view, completeness), "news of reservations")
    while True:
        completeness.doubted.clear()
        try:
            if not await completeness.look() or view.unreadable:
                await rebuild(runtime, table, decisions)
        except (BusError, Conflict, OSError, TimeoutError) as error:
            log.warning("reservations stay incomplete for now", extra={"error": str(error)})
            await asyncio.sleep(WAIT)
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await completeness.doubted.wait()


async def _watch(view: View[Reservation], completeness: Completeness) -> None:
    async for _ in view.changes():
        if MARKER not in view.entries or view.unreadable:
            completeness.doubted.set()


async def _forget_phantoms(table: Table[Reservation], view: View[Reservation]) -> None:
    """Delete what followers still believe to be there: of a stream that was purged they did not hear."""
    present = {entry.key for entry in await table.entries()}
    for key in view.entries.keys() - present - {MARKER}:
        with contextlib.suppress(Conflict):  # it was written meanwhile
            await table.delete(key, 0)


async def _rebuild_workspace(path: str, table: Table[Reservation], decisions: Decisions, patience: float) -> None:
    for target, decided in await _reservations_of(path, decisions, patience):
        await _hold(table, key_of(target, decided.placement), decided)


async def _hold(table: Table[Reservation], key: str, decided: Reservation) -> None:
    async def held(found: Reservation | None) -> Reservation:
        return restored(found, decided)

    await table.change(key, held, tries=TRIES)


def restored(found: Reservation | None, decided: Reservation) -> Reservation:
    """A reservation that holds what was decided or bound, and what somebody holds there already.

    Somebody reserved in the bucket while it was empty, and saw nothing to keep; or undid that, which left it released.
    What was reserved for a newer attempt keeps its epoch: of that attempt nothing was decided when this was read.
    """
    if found is None or found.released_at:
        return decided
    if decided.head.older_than(found.head):
        return holding(decided, found)
    if not found.head.older_than(decided.head) and fits(decided.resources, found.resources):
        return msgspec.structs.replace(found, epoch=0)
    return holding(found, decided)


async def _reservations_of(path: str, decisions: Decisions, patience: float) -> list[tuple[str, Reservation]]:
    give_up = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await decisions.reservations(path)
        except ApiError as error:
            if error.not_found:  # a workspace without our kinds has nothing decided
                return []
            if error.forbidden and asyncio.get_running_loop().time() >= give_up:
                said = {"workspace": path, "error": str(error)}
                log.error("a workspace is passed over, it refuses us", extra=said)  # noqa: TRY400 - no bug of ours
                return []
            log.warning("waiting for the decisions of a workspace", extra={"workspace": path, "error": str(error)})
        except KubeError as error:
            log.warning("waiting for the decisions of a workspace", extra={"workspace": path, "error": str(error)})
        await asyncio.sleep(WAIT)


_NOBODY = PlacementRef(workspace="", namespace="", name="")

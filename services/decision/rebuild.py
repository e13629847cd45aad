"""Reservations from PlacementDecisions: after the buckets were deleted, nothing may be given away twice."""

import asyncio
import contextlib
import logging

from services.decision.kubernetes import Decisions
from services.decision.ledger import key_of
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.kube.errors import ApiError, KubeError
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.pipeline.buckets import RESERVATIONS, WORKSPACES
from shared.pipeline.runner import Runtime

log = logging.getLogger("moorage.decision")

MARKER = join("rebuilt", "", "", "", "")
"""An entry that says that reservations are complete; it goes when they go. Its target has no workspace-like name."""

WAIT = 1.0
PATIENCE = 30.0
"""Seconds after which a workspace that refuses us is passed over: we could not decide anything there either."""


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
    workspaces = await runtime.follow(WORKSPACES)
    log.info("reservations are incomplete, rebuilding them from the PlacementDecisions")
    while not any(entry.value.root for entry in workspaces.entries.values()):
        await workspaces.moved(workspaces.revision)
    for path in sorted(entry.value.path for entry in workspaces.entries.values()):
        await _rebuild_workspace(path, table, decisions, patience)
    for raw in unreadable:
        with contextlib.suppress(Conflict):  # it was made anew
            await table.delete(raw.key, raw.revision)
    await table.put(MARKER, Reservation(placement=_NOBODY, head=Head(uid="", generation=0, attempt=0), resources={}))
    log.info("reservations are complete", extra={"bucket": RESERVATIONS.name, "workspaces": len(workspaces.entries)})


async def keep_complete(runtime: Runtime, table: Table[Reservation], decisions: Decisions) -> None:
    """Rebuild whenever the marker goes or an entry becomes unreadable, until cancelled."""
    view = await runtime.follow(RESERVATIONS)
    async for _ in view.changes():
        while MARKER not in view.entries or view.unreadable:
            try:
                await rebuild(runtime, table, decisions)
                break
            except (BusError, OSError, TimeoutError) as error:
                log.warning("reservations stay incomplete for now", extra={"error": str(error)})
                await asyncio.sleep(WAIT)


async def _rebuild_workspace(path: str, table: Table[Reservation], decisions: Decisions, patience: float) -> None:
    for target, reservation in await _reservations_of(path, decisions, patience):
        try:
            await table.update(key_of(target, reservation.placement), reservation, 0)
        except Conflict:
            continue  # it is there: another copy rebuilds as well, or a newer decision was made


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

"""PlacementOverrides, as long as no worker acts on them: each says on its status that it is not in force."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from shared.aio.backoff import backoff
from shared.api import PlacementOverride, PlacementOverrideStatus, decode_override, set_condition, to_dict
from shared.broker.table import View
from shared.hub.hub import Hub
from shared.hub.names import field_manager
from shared.hub.resources import OVERRIDES
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.kube.informer import Informer
from shared.kube.times import rfc3339
from shared.model.target import Workspace

log = logging.getLogger("moorage.controller")

FIELD_MANAGER = field_manager("controller")
ACCEPTED = "Accepted"
NOT_IMPLEMENTED = "NotImplemented"
SENTENCE = "No worker acts on PlacementOverrides yet: placements are decided as if this one were not there."


def not_in_force(override: PlacementOverride, now: str) -> PlacementOverrideStatus:
    """The status that says so; the same as before where it says so already. `now`: RFC 3339."""
    generation = override.metadata.generation
    conditions = set_condition(
        override.status.conditions, ACCEPTED, "False", NOT_IMPLEMENTED, SENTENCE, now, generation
    )
    return PlacementOverrideStatus(observed_generation=generation, conditions=conditions)


async def follow(hub: Hub, workspaces: View[Workspace], clock: Callable[[], float]) -> None:
    """Answer the overrides of every workspace that discovery found, until cancelled."""
    running: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        async for _ in workspaces.changes():
            paths = {entry.value.path for entry in workspaces.entries.values()}
            for path in running.keys() - paths:
                running.pop(path).cancel()
            for path in paths - running.keys():
                running[path] = tasks.create_task(answer(hub.at(path), clock), name=f"overrides of {path}")


async def answer(client: Client, clock: Callable[[], float]) -> None:
    """Answer the overrides of one workspace, each once per generation, until cancelled."""
    async with Informer(client, OVERRIDES, decode=decode_override) as informer:
        async for change in informer.events():
            attempt = 1
            while not await _answered(client, informer.objects.get(change.key), clock()):
                await asyncio.sleep(backoff(attempt))  # by then its newest state is known
                attempt += 1


async def _answered(client: Client, override: PlacementOverride | None, now: float) -> bool:
    """True if an override, if there is one, says what it has to; it is written if not. False where that failed."""
    if override is None:
        return True
    status = not_in_force(override, rfc3339(now, "seconds"))
    if status == override.status:
        return True
    answered = msgspec.structs.replace(override, status=status)
    try:
        await client.replace(OVERRIDES, to_dict(answered), subresource="status", field_manager=FIELD_MANAGER)
    except KubeError as error:
        log.info("an override's status waits", extra={"override": override.metadata.name, "error": str(error)})
        return False
    return True

"""What discovery writes for the owners of targets: the status of SyncTargets, and Events."""

import contextlib
import logging

import msgspec

from services.discovery.strays import StrayNews
from shared.api import SyncTarget, SyncTargetStatus
from shared.hub.events import tell
from shared.hub.names import field_manager
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.model.target import Target

log = logging.getLogger("moorage.discovery")

COMPONENT = "discovery"
FIELD_MANAGER = field_manager(COMPONENT)


async def write_status(client: Client, name: str, status: SyncTargetStatus) -> SyncTarget:
    """Apply the status of a SyncTarget, and nothing of its spec. Raises KubeError."""
    wanted = {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": SYNCTARGETS.kind,
        "metadata": {"name": name},
        "status": msgspec.to_builtins(status),
    }
    return await client.apply(
        SYNCTARGETS, wanted, field_manager=FIELD_MANAGER, force=True, subresource="status", type=SyncTarget
    )


async def tell_of_strays(
    client: Client, found: SyncTarget, target: Target, said: StrayNews, now: float, *, occasion: str
) -> None:
    """Say it in the log and by an Event; copies that come to it from the same entry write the same one."""
    if target.strays:
        some = sorted(str(stray.placement) for stray in target.strays)[:10]
        log.warning("what nobody decided runs in a target", extra={"target": target.id, "placements": some})
    with contextlib.suppress(KubeError):  # a courtesy
        await tell(client, COMPONENT, found, *said, now, occasion=occasion)

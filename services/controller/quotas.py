"""PlacementQuotas at work: how much of each is used stands on its status, written once a second at most."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from services.controller.core.quotas import in_force, status_of
from services.controller.watches import Watches
from services.controller.workspace import WorkspaceWatch
from shared.api import PlacementQuota, to_dict
from shared.hub.quotas import Charged
from shared.hub.resources import QUOTAS
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339

log = logging.getLogger("moorage.controller")

PACE: Final = 1.0
"""Seconds between two writes of a status."""
SOON: Final = 5.0
"""Seconds after which a status is tried again that could not be written."""


@dataclass
class QuotaStatuses:
    """Has quotas say how much of them is used; `freed` hears where that became less."""

    watches: Watches
    charged: Charged
    freed: Callable[[], None]
    clock: Callable[[], float]
    _changed: set[tuple[str, str]] = field(default_factory=set)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, workspace: str, name: str) -> None:
        """A quota changed, or how much of it is used."""
        self._changed.add((workspace, name))
        self._some.set()

    async def follow(self) -> None:
        """Note the quotas of which more or less is charged than before, for ever."""
        async for places, less in self.charged.follow():
            if less:
                self.freed()
            for watch, quota in self._all():
                known = in_force(watch.path, quota)
                if known is not None and known.place in places:
                    self.note(watch.path, quota.metadata.name)

    def _all(self) -> Iterator[tuple[WorkspaceWatch, PlacementQuota]]:
        return ((watch, quota) for watch in self.watches.all() for quota in watch.quotas())

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            changed, self._changed = self._changed, set()
            for workspace, name in sorted(changed):
                try:
                    await self._write(workspace, name)
                except Exception:
                    log.exception("the status of a quota waits", extra={"path": workspace, "named": name})
                    asyncio.get_running_loop().call_later(SOON, self.note, workspace, name)
            await asyncio.sleep(PACE)

    async def _write(self, workspace: str, name: str) -> None:
        watch = self.watches.get(workspace)
        quota = watch.quota(name) if watch is not None else None
        if watch is None or quota is None:
            return
        known, now = in_force(workspace, quota), rfc3339(self.clock(), "seconds")
        used = self.charged.total(known) if known is not None else {}
        counted = known is not None and self.charged.counted(known)
        status = status_of(workspace, quota, used, counted=counted, now=now)
        if status == quota.status:
            return
        try:
            await watch.client.replace(
                QUOTAS, to_dict(msgspec.structs.replace(quota, status=status)), subresource="status"
            )
        except KubeError as error:  # another copy may have been faster
            log.info("the status of a quota waits", extra={"quota": name, "error": str(error)})
            asyncio.get_running_loop().call_later(SOON, self.note, workspace, name)

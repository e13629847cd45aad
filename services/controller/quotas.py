"""PlacementQuotas at work: how much of each is used stands on its status, written once a second at most."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from services.controller.core.quotas import status_of
from services.controller.watches import Watches
from shared.api import to_dict
from shared.hub.quotas import Charged
from shared.hub.resources import QUOTAS
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339
from shared.model.quota import WorkspaceQuota

log = logging.getLogger("moorage.controller")

PACE: Final = 1.0
"""Seconds between two writes of a status."""
AT_ONCE: Final = 20
"""Statuses of one workspace that are written in that time at most."""
SOON: Final = 5.0
"""Seconds after which a status is tried again that could not be written."""


@dataclass
class QuotaStatuses:
    """Has quotas say how much of them is used; `freed` hears where that became less."""

    watches: Watches
    charged: Charged
    freed: Callable[[], None]
    clock: Callable[[], float]
    _changed: dict[str, dict[str, None]] = field(default_factory=dict)  # names by workspace, in order
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, workspace: str, name: str) -> None:
        """A quota changed, or how much of it is used."""
        self._changed.setdefault(workspace, {})[name] = None
        self._some.set()

    async def follow(self) -> None:
        """Note the quotas of which more or less is charged than before, for ever."""
        async for places, less in self.charged.follow():
            if less:
                self.freed()
            for watch in self.watches.all():
                for known in watch.quotas.in_force().values():
                    if known.place in places:
                        self.note(known.workspace, known.name)

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            for workspace, name in self._turn():
                try:
                    await self._write(workspace, name)
                except Exception:
                    log.exception("the status of a quota waits", extra={"path": workspace, "named": name})
                    asyncio.get_running_loop().call_later(SOON, self.note, workspace, name)
            await asyncio.sleep(PACE)

    def _turn(self) -> list[tuple[str, str]]:
        """The next few of each workspace: nobody waits for who has many."""
        found = []
        for workspace, names in list(self._changed.items()):
            for name in list(itertools.islice(names, AT_ONCE)):
                del names[name]
                found.append((workspace, name))
            if not names:
                del self._changed[workspace]
        if self._changed:
            self._some.set()
        return found

    async def _write(self, workspace: str, name: str) -> None:
        watch = self.watches.get(workspace)
        quota = watch.quotas.get(name) if watch is not None else None
        known = watch.quotas.judged().get(name) if watch is not None else None
        if watch is None or quota is None or known is None:
            return
        used, counted = {}, False
        if isinstance(known, WorkspaceQuota):
            used, counted = self.charged.total(known), self.charged.counted(known)
        status = status_of(quota, known, used, counted=counted, now=rfc3339(self.clock(), "seconds"))
        if status == quota.status:
            return
        try:
            await watch.client.replace(
                QUOTAS, to_dict(msgspec.structs.replace(quota, status=status)), subresource="status"
            )
        except KubeError as error:  # another copy may have been faster
            log.info("the status of a quota waits", extra={"quota": name, "error": str(error)})
            asyncio.get_running_loop().call_later(SOON, self.note, workspace, name)

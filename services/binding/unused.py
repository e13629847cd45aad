"""Namespaces that we made in targets and that nothing is placed in: removed when that is so for a while.

Discovery tells of them, so that nothing is asked of targets for it that is not asked anyway.
"""

import asyncio
import logging
from collections.abc import Callable

from services.binding.target.reach import Reach
from services.binding.target.spaces import remove_unused
from services.binding.trouble import Trouble
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.kube.errors import KubeError
from shared.model.target import Target
from shared.pipeline.copies import Copies

log = logging.getLogger("moorage.binding")

_LOOK = 5.0  # seconds between two looks
_AT_ONCE = 4  # namespaces that are looked into in one look
_PATIENCE = 12  # times as long until one that could not be removed is looked into again


class UnusedNamespaces:
    """Of the targets that are for this one of the `copies` to see to, those unused for `after` seconds; 0: none."""

    def __init__(
        self, after: float, *, reach: Reach, inventory: View[Target], copies: Copies, clock: Callable[[], float]
    ) -> None:
        self._after = after
        self._reach = reach
        self._inventory = inventory
        self._copies = copies
        self._clock = clock
        self._due: dict[tuple[str, str], float] = {}  # by target and namespace

    async def run(self) -> None:
        """Remove them, until cancelled."""
        while self._after > 0:
            await self.look()
            await asyncio.sleep(_LOOK)

    async def look(self) -> None:
        """Remove those that are due."""
        now = self._clock()
        found = [
            (entry.value.id, name)
            for key, entry in self._inventory.entries.items()
            if entry.value.unused and self._copies.mine(key)
            for name in entry.value.unused
        ]
        self._due = {each: self._due.get(each, now + self._after) for each in found}
        for target, name in [each for each in found if self._due[each] <= now][:_AT_ONCE]:
            self._due[target, name] = now + _PATIENCE * self._after
            try:
                way = await self._reach.enter(target)
                why = await self._reach.work(target, remove_unused(way.client, name))
            except (Trouble, Retry, KubeError) as error:
                why = str(error)
            else:
                way.held.forget(name)
            said = {"target": target, "namespace": name, "why": why}
            log.info("an unused namespace stays" if why else "an unused namespace is removed", extra=said)

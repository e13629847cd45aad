"""PlacementOverrides that hold for what is asked about.

They are read with our own rights, as the controller does: they hold for who asks whether he may see them or not.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from services.intake.core import RequestRejected
from shared.aio.lru import Lru
from shared.aio.sharing import Kept
from shared.api import PlacementOverride
from shared.hub.access import Access
from shared.hub.authority import authority_of
from shared.hub.hub import Hub
from shared.hub.overriding import concerns, ended, in_order
from shared.hub.resources import OVERRIDES
from shared.kube.client import Bounds
from shared.kube.errors import ApiError
from shared.model.refs import PlacementRef, above
from shared.model.request import OperatorOverride

log = logging.getLogger("moorage.intake")

SECONDS: Final = 2.0
"""For so long a workspace's overrides are not read again, however many ask."""
WORKSPACES: Final = 1000
MOST: Final = Bounds(objects=1000, bytes=4 << 20)


class OverridesInForce:
    """Reads overrides, those of a workspace once for all who ask within a moment."""

    def __init__(self, hub: Hub, access: Access, clock: Callable[[], float]) -> None:
        self._hub = hub
        self._access = access
        self._clock = clock
        self._kept: Kept[str, list[PlacementOverride]] = Kept(seconds=SECONDS, limit=WORKSPACES)
        self._unseen: Lru[str, bool] = Lru(WORKSPACES)  # workspaces of which it was said that they cannot be read

    async def of(self, ref: PlacementRef, uid: str, labels: Mapping[str, str]) -> tuple[OperatorOverride, ...]:
        """The overrides that hold for a placement, the strongest first.

        Raises RequestRejected while nobody can say whether an author may, and KubeError.
        """
        found, now = [], self._clock()
        for path in above(ref.workspace):
            for override in await self._kept.get(path, partial(self._read, path)):
                if not concerns(override.spec, ref, uid, labels) or ended(override.spec, now):
                    continue
                authority = await authority_of(self._access, path, override)
                if authority.unknown:
                    raise RequestRejected("Unavailable", "nobody can say whether the author of an override may")
                found.append((path, override, authority))
        return in_order(found)

    async def _read(self, path: str) -> list[PlacementOverride]:
        """Those of a workspace; none where it does not serve the kind, or does not let us, as the controller has it."""
        try:
            return (await self._hub.at(path).list(OVERRIDES, bounds=MOST, type=PlacementOverride)).items
        except ApiError as error:
            if error.not_found:
                return []
            if not error.forbidden:
                raise
            if not self._unseen.get(path):
                self._unseen.put(path, True)
                log.warning("overrides count for nothing in answers: they cannot be read", extra={"path": path})
            return []

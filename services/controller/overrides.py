"""PlacementOverrides at work: whose are in force for a placement, and what each says on its status."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from services.controller.watches import Watches
from services.controller.workspace import WorkspaceWatch
from shared.aio.workqueue import WorkQueue
from shared.api import Placement, PlacementOverride, PlacementOverrideSpec, to_dict
from shared.broker.bus import Retry
from shared.hub.access import Access
from shared.hub.authority import authority_of
from shared.hub.overriding import Authority, concerns, ended, in_order, status_of
from shared.hub.requester import requester_of
from shared.hub.resources import OVERRIDES
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339, seconds
from shared.model.refs import PlacementRef, above
from shared.model.request import OperatorOverride

log = logging.getLogger("moorage.controller")

AGAIN: Final = 60.0
"""Seconds after which it is asked again whether authors may still override: nothing tells of a right that is taken."""
SOON: Final = 5.0
"""The same where nobody could say, or the status could not be written."""
MARGIN: Final = 0.05
"""Seconds after its end at which an override is seen to, so that it is over by then on our clock."""


@dataclass
class Overrides:
    """Whose overrides are in force; asks on behalf of their authors, never of us."""

    watches: Watches
    access: Access
    clock: Callable[[], float]

    async def in_force(self, ref: PlacementRef, placement: Placement) -> tuple[OperatorOverride, ...]:
        """The overrides that hold for a placement, the strongest first. Raises `Retry` until that is known.

        Where there are none, nobody is asked anything.
        """
        found = []
        metadata, now = placement.metadata, self.clock()
        for path in above(ref.workspace):
            watch = self.watches.get(path)
            for override in watch.overrides() if watch is not None else ():
                if not concerns(override.spec, ref, metadata.uid, metadata.labels) or ended(override.spec, now):
                    continue
                authority = await authority_of(self.access, path, override)
                if authority.unknown:  # as it was before is better than as if it were not there
                    raise Retry(SOON, f"nobody can say whether the author of override {override.metadata.name} may")
                found.append((path, override, authority))
        return in_order(found)

    def concerned(self, workspace: str, specs: Sequence[PlacementOverrideSpec]) -> Iterator[PlacementRef]:
        """The placements in a workspace and below that any of these is about."""
        for watch in self.watches.all():
            if workspace in above(watch.path):
                for ref, placement in watch.placements():
                    metadata = placement.metadata
                    if any(concerns(spec, ref, metadata.uid, metadata.labels) for spec in specs):
                        yield ref

    async def answer(self, watch: WorkspaceWatch, override: PlacementOverride) -> "Answered":
        """Have an override say on its status whether it is in force."""
        now, author = self.clock(), requester_of(override)
        authority = await authority_of(self.access, watch.path, override)
        username = author.username if author is not None else ""
        status = status_of(override, watch.path, authority, username, now, rfc3339(now, "seconds"))
        if status != override.status:
            answered = msgspec.structs.replace(override, status=status)
            try:
                await watch.client.replace(OVERRIDES, to_dict(answered), subresource="status")
            except KubeError as error:
                log.info("an override's status waits", extra={"override": override.metadata.name, "error": str(error)})
                return Answered(override.spec, authority, SOON)
        again, ends, now = SOON if authority.unknown else AGAIN, override.spec.expires_at, self.clock()
        if ends and not ended(override.spec, now):
            again = min(again, seconds(ends) - now + MARGIN)
        return Answered(override.spec, authority, again, over=ended(override.spec, now))


class Answered(msgspec.Struct, frozen=True):
    """An override as it was seen to, and in how many seconds that is to be done again."""

    spec: PlacementOverrideSpec
    authority: Authority
    again: float
    over: bool = False

    def same(self, other: "Answered | None") -> bool:
        """Whether it holds for the same as it did."""
        return other is not None and (self.spec, self.authority, self.over) == (other.spec, other.authority, other.over)


async def keep(
    overrides: Overrides, changed: WorkQueue[tuple[str, str]], look_at: Callable[[PlacementRef], None]
) -> None:
    """See to each override that changed, or whose time has come: its status, and the placements that it may concern."""
    loop = asyncio.get_running_loop()
    due: dict[tuple[str, str], asyncio.TimerHandle] = {}
    known: dict[tuple[str, str], Answered] = {}  # bounded by the number of overrides, as `due` is
    while True:
        path, name = named = await changed.get()
        if named in due:
            due.pop(named).cancel()
        try:
            watch, before = overrides.watches.get(path), known.pop(named, None)
            override = watch.override(name) if watch is not None else None
            now = await overrides.answer(watch, override) if watch is not None and override is not None else None
            if now is not None:
                known[named] = now
                due[named] = loop.call_later(now.again, changed.add, named)
            if now is None or not now.same(before):
                for ref in overrides.concerned(path, [each.spec for each in (before, now) if each is not None]):
                    look_at(ref)
        except Exception:
            log.exception("an override is not seen to", extra={"path": path, "named": name})
            due[named] = loop.call_later(SOON, changed.add, named)
        finally:
            changed.done(named)

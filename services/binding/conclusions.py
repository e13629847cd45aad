"""Conclusions: what came of applying, and how the objects are since, in one write of the PlacementBinding.

What was applied is told at once (Bound). Status answers how the objects are. So the PlacementBinding is not written
before that is known, or `health_seconds` have passed; until then the lease is held. Should this process die meanwhile,
the answer of status (Observed), which nobody else can do anything with before the lease is over, has it applied again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import msgspec

from services.binding import lifecycle
from services.binding.leases import Leases
from services.binding.settings import BindingSettings
from shared.aio.lru import Lru
from shared.aio.workqueue import WorkQueue
from shared.api import BoundObject, PlacementBinding
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.kube.errors import KubeError
from shared.model.refs import PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.messages import Assigned, Observed

log = logging.getLogger("moorage.binding")

_WRITERS = 16  # that are written at once
_REMEMBERED = 10_000  # one that is open and forgotten is applied again
_AGAIN = 2.0  # seconds
_CLOSING = 5.0  # seconds


class Conclusion(msgspec.Struct, frozen=True, eq=False):
    """What was applied under a lease, and is not on record yet. At `due` it is to be, whatever is known then."""

    message: Assigned
    leased: PlacementBinding
    objects: tuple[BoundObject, ...]
    notes: tuple[str, ...]
    at: float
    due: float
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    @property
    def version(self) -> str:
        """The version of the PlacementBinding that it was told with."""
        return self.leased.metadata.resource_version

    def on(self, binding: PlacementBinding) -> PlacementBinding:
        """The PlacementBinding with it."""
        return lifecycle.succeeded(binding, self.objects, self.notes, self.at)


class OnRecord(msgspec.Struct, frozen=True):
    """A PlacementBinding as it was written with what a report said, at its revision."""

    binding: PlacementBinding
    revision: int


class Conclusions:
    """Those of this process, by the keys of the reports that they wait for. `run` must be running."""

    def __init__(
        self,
        settings: BindingSettings,
        *,
        leases: Leases,
        reports: View[TargetReport],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._leases = leases
        self._reports = reports
        self._clock = clock
        self._open: Lru[str, Conclusion] = Lru(_REMEMBERED)
        self._recorded: Lru[str, OnRecord] = Lru(_REMEMBERED)
        self._queue: WorkQueue[str] = WorkQueue(_WRITERS)

    async def begin(
        self, message: Assigned, leased: PlacementBinding, objects: Sequence[BoundObject], notes: Sequence[str]
    ) -> PlacementBinding:
        """Everything is applied; the PlacementBinding as it will say so. Raises as `Leases.conclude`."""
        key, now, wait = message.placement.key_in(message.target), self._clock(), self._settings.health_seconds
        conclusion = Conclusion(message, leased, tuple(objects), tuple(notes), now, now + wait)
        if not wait:
            return await self._leases.conclude(message, leased, conclusion.on)
        self._recorded.pop(key)
        self._open.put(key, conclusion)
        asyncio.get_running_loop().call_later(wait, self._queue.add, key)
        return conclusion.on(leased)

    async def settle(self, ref: PlacementRef, target: str) -> None:
        """Write what is not on record yet, before something else is done. Raises as `Leases.conclude`."""
        conclusion = self._open.get(key := ref.key_in(target))
        if conclusion is not None:
            await self._conclude(key, conclusion)

    async def take(self, message: Observed) -> OnRecord | None:
        """Record an answer of status, if it is one; what was recorded here last, if that is not older.

        Raises Retry until there is a better one or none is waited for any more, and as `Leases.conclude`.
        """
        key = message.placement.key_in(message.target)
        conclusion = self._open.get(key)
        if conclusion is not None:
            fits = message.answers == conclusion.version
            wait = conclusion.due - self._clock()
            if wait > 0 and not (fits and is_settled(message.objects)):
                raise Retry(wait, "more is to be known soon")
            await self._conclude(key, conclusion, message.objects if fits else (), message.revision if fits else 0)
        recorded = self._recorded.get(key)
        return recorded if recorded is not None and recorded.revision >= message.revision else None

    async def run(self) -> None:
        """Write what the reports settle, and what is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WRITERS):
                tasks.create_task(self._write())
            async for keys in self._reports.changes():
                for key in keys:
                    if key in self._open:
                        self._queue.add(key)

    async def close(self) -> None:
        """Write what is open, so that nobody has to wait for leases to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                left = [self._look(key, closing=True) for key in list(self._open)]
                await asyncio.gather(*left, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._look(key)
            except (KubeError, Retry) as error:
                log.warning("what was applied is not on record yet", extra={"key": key, "error": str(error)})
                asyncio.get_running_loop().call_later(_AGAIN, self._queue.add, key)
            finally:
                self._queue.done(key)

    async def _look(self, key: str, *, closing: bool = False) -> None:
        """Write a conclusion if it is settled or due."""
        conclusion, entry = self._open.get(key), self._reports.entries.get(key)
        if conclusion is None:
            return
        fits = entry is not None and entry.value.version == conclusion.version
        seen, revision = (entry.value.objects, entry.revision) if entry is not None and fits else ((), 0)
        if closing or (fits and is_settled(seen)) or conclusion.due <= self._clock():
            await self._conclude(key, conclusion, seen, revision)

    async def _conclude(
        self, key: str, conclusion: Conclusion, seen: Sequence[ObjectHealth] = (), revision: int = 0
    ) -> None:
        """Write a conclusion, with the health of the objects as it was `seen` at a revision of the report."""
        async with conclusion.lock:
            if self._open.get(key) is not conclusion:
                return

            def change(binding: PlacementBinding) -> PlacementBinding:
                return lifecycle.observed(conclusion.on(binding), seen, self._clock())

            try:
                written = await self._leases.conclude(conclusion.message, conclusion.leased, change)
            except Retry:  # the binding is somebody else's by now
                self._open.pop(key)
                raise
            self._open.pop(key)
            self._recorded.put(key, OnRecord(written, revision))


def is_settled(objects: Sequence[ObjectHealth]) -> bool:
    """True if the health of objects is not one that passes by itself."""
    return all(each.health not in ("Unknown", "Progressing") for each in objects)

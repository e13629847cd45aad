"""Reports that went with their bucket, or became unreadable: written again, where what they are on is still bound."""

import asyncio
import logging
from collections.abc import Callable

from services.status.kubernetes import StatusRecords
from services.status.reports import Reports
from shared.api import PlacementBinding
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.kube.errors import KubeError
from shared.model.report import TargetReport

log = logging.getLogger("moorage.status")

_RACES = 10
_AGAIN = 1.0  # seconds


class LostReports:
    """`read` makes a report of a PlacementBinding, upon the one that was known. `run` must be running."""

    def __init__(
        self,
        records: StatusRecords,
        reports: Reports,
        read: Callable[[TargetReport, PlacementBinding, TargetReport], TargetReport],
    ) -> None:
        self._records = records
        self._reports = reports
        self._read = read
        self._lost: dict[str, TargetReport] = {}  # by key
        self._some = asyncio.Event()

    def add(self, key: str, last: TargetReport) -> None:
        """A report is lost; what it was."""
        self._lost[key] = last
        self._some.set()

    async def run(self) -> None:
        """Write them, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            for key, last in list(self._lost.items()):
                try:
                    await self._write(last)
                except (KubeError, BusError, Conflict) as error:
                    log.warning("a report is not written again yet", extra={"key": key, "error": str(error)})
                    asyncio.get_running_loop().call_later(_AGAIN, self._some.set)
                else:
                    del self._lost[key]

    async def _write(self, last: TargetReport) -> None:
        binding = await self._records.binding(last.placement, last.target)

        async def as_before(known: TargetReport | None) -> TargetReport | None:
            if known is not None or binding is None:
                return known
            return last if binding.metadata.resource_version == last.version else self._read(last, binding, last)

        await self._reports.change(last.placement, last.target, as_before, tries=_RACES)

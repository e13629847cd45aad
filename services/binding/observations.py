"""Observations of status in a target: recorded on the PlacementBinding, and drift from what was applied corrected."""

from collections.abc import Callable

from services.binding import lease, lifecycle
from services.binding.binder import Binder
from services.binding.records import Records
from services.binding.settings import BindingSettings
from shared.api import PlacementBinding
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.model.report import TargetReport
from shared.pipeline.messages import Bound, Observed

_LEASED = 2.0  # seconds; a correction is not urgent


class Observations:
    """Records what status observed, and has drift corrected.

    A change of health alone is written without a message to status, which reported it; otherwise the two would go on
    telling each other. Status is told again where it knows nothing of what is applied.
    """

    def __init__(
        self,
        settings: BindingSettings,
        *,
        records: Records,
        reports: View[TargetReport],
        binder: Binder,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._records = records
        self._reports = reports
        self._binder = binder
        self._clock = clock

    async def take(self, message: Observed) -> Bound | None:
        """Record health; apply anew where somebody changed or deleted what is ours. Raises as `Binder.bind`."""
        recorded = await self._binder.conclusions.take(message)
        if recorded is not None and not self._asks_for_more(recorded.binding, message):
            return None
        binding = await self._records.binding(message.placement, message.target)
        if binding is None or not lifecycle.concerns(binding, message) or await self._overtaken(message):
            return None
        wait = lease.remaining(binding, self._clock(), self._settings.lease)
        if wait > 0:
            raise Retry(min(wait, _LEASED), f"another worker acts on {binding.metadata.name}")
        if lifecycle.in_place(binding):
            binding = await self._write(message, binding)
        drifted = lifecycle.drifted(binding, message)
        if not drifted and lifecycle.in_place(binding):
            return lifecycle.bound(message, binding) if lifecycle.untold(binding, message) else None
        if (wait := self._rest(binding)) > 0:
            raise Retry(wait, "what changed in the target is corrected later")
        return await self._binder.correct(message, drifted)

    def _asks_for_more(self, binding: PlacementBinding, message: Observed) -> bool:
        return bool(lifecycle.drifted(binding, message)) or lifecycle.untold(binding, message)

    def _rest(self, binding: PlacementBinding) -> float:
        """Seconds for which a target is left as it is; none after a worker that died before it said what it did."""
        if lease.unconcluded(binding):
            return 0.0
        settings = self._settings
        return lifecycle.rest(
            binding, self._clock(), drift=settings.drift_seconds, refused=settings.refused_retry_seconds
        )

    async def _overtaken(self, message: Observed) -> bool:
        """True if there is a newer report than the one in this message.

        It must be asked after the binding was read. If a newer report was recorded on the binding before that, it is
        found here; if it is recorded afterwards, our own write fails, because the binding has changed.
        """
        ref = message.placement
        entry = await self._reports.fresh(ref.key_in(message.target))
        return entry is not None and entry.revision > message.revision

    async def _write(self, message: Observed, binding: PlacementBinding) -> PlacementBinding:
        after = lifecycle.observed(binding, message.objects, self._clock())
        if after is binding:
            return binding
        return await self._records.write_status(message.placement, after)

"""Takes a placement out of a target, once those that take over have it."""

import logging
from collections.abc import Callable, Mapping

from services.binding import lifecycle
from services.binding.core import Identity
from services.binding.judge import may_not_run_twice
from services.binding.leases import Leases
from services.binding.records import Facts, Records
from services.binding.runs import successors
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble
from shared.aio.lru import Lru
from shared.api import PlacementBinding
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.kube.errors import ApiError
from shared.kube.times import rfc3339, seconds
from shared.model.refs import PlacementRef, TargetRef
from shared.model.report import TargetReport
from shared.pipeline.messages import Assigned, Bound

log = logging.getLogger("moorage.binding")

_HANDOVER, _HANDOVER_MOST = 1.0, 60.0  # seconds
_UNASKED = 10.0
"""Seconds for which nobody is asked whether those that take over are healthy, while no report says so."""
_WAITING = 10_000  # removals of which it is remembered since when they wait
_UNKNOWN = 30.0  # seconds until a target that is in no inventory is looked for again


class Removal:
    """A binding that is deleted stays until its target has been cleared."""

    def __init__(
        self,
        settings: BindingSettings,
        *,
        records: Records,
        reach: Reach,
        reports: View[TargetReport],
        leases: Leases,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._records = records
        self._reach = reach
        self._reports = reports
        self._leases = leases
        self._clock = clock
        self._waiting: Lru[tuple[str, int], float] = Lru(_WAITING)

    def await_reports(self, message: Assigned) -> None:
        """Raise Retry while no report says that the targets that take over are healthy; for a while: then the hub is
        asked each time. Most moves take some seconds, in which nobody need be asked anything.
        """
        if all(self._is_healthy(message.placement, target) for target in message.after):
            return
        key, now = (message.placement.key_in(message.target), message.head.attempt), self._clock()
        since = self._waiting.get(key)
        if since is None:
            self._waiting.put(key, since := now)
        if now - since < _UNASKED:
            raise Retry(_HANDOVER, "others have to take over first")

    def _is_healthy(self, ref: PlacementRef, target: str) -> bool:
        report = self._reports.get(ref.key_in(target))
        return report is not None and all(each.health == "Healthy" for each in report.objects)

    async def remove(self, message: Assigned, facts: Facts, held: str = "") -> Bound:
        """Mark the binding for deletion, clear the target, and let the binding go. Raises Retry, and what the hub
        answers. `held` is the lease that the caller has.
        """
        ref, binding, placement = message.placement, facts.binding, facts.placement
        if binding is None:
            binding = await self._found(message)
            if binding is None:
                return self._removed(message, "", "")
        self._leases.respect(message, binding, held)
        leaving = placement is None or placement.metadata.deletion_timestamp is not None
        if not leaving and not lifecycle.deleting(binding):
            await self._await_successors(message, facts)
        if not lifecycle.deleting(binding):
            marked = await self._records.delete(ref, binding)
            if marked is None:
                return self._removed(message, binding.metadata.resource_version, "")
            binding = marked
        # The Placement says whether its objects stay; only where it is gone is there nobody but the message to say so.
        orphan = message.orphan if placement is None else leaving and placement.spec.deletion_policy == "Orphan"
        note = await self._clear(message, binding, orphan=orphan)
        return self._removed(message, binding.metadata.resource_version, note)

    def _removed(self, message: Assigned, version: str, note: str) -> Bound:
        return Bound(
            placement=message.placement,
            head=message.head,
            target=message.target,
            phase="Removed",
            held=message.held,
            message=note,
            version=version,
            since=rfc3339(self._clock()),
        )

    async def _found(self, message: Assigned) -> PlacementBinding | None:
        """A PlacementBinding to clear the target under, where it still has what it should not, and there is none.

        Somebody took it away by hand, or the hub was restored from a backup. Capacity is given back when the target
        says that it is free, not when nobody remembers it any more.
        """
        ref, target = message.placement, message.target
        if await out_of_reach(target, self._reach, self._records):
            return None
        try:
            applyset = await self._reach.open(target, ref, message.head.uid)
            if not await self._reach.work(target, applyset.present()):
                return None
            log.warning("objects without a PlacementBinding are taken away", extra={"of": str(ref), "target": target})
            try:
                return await self._records.create(ref, lifecycle.fresh(message, None))
            except ApiError as error:
                if not (error.not_found or error.forbidden):  # else there is no namespace to have one in (any more)
                    raise
            await self._reach.work(target, applyset.clear(_nobody, orphan=message.orphan))
        except Trouble as problem:
            raise Retry(self._reach.delay(target, problem, 0), problem.message) from problem
        return None

    async def _clear(self, message: Assigned, binding: PlacementBinding, *, orphan: bool) -> str:
        """Clear the target and let the binding go; what is to be said about it."""
        ref, target = message.placement, message.target
        if await out_of_reach(target, self._reach, self._records):
            await self._records.release(ref, binding)
            return f"SyncTarget {target} does not exist any more: what was placed there is out of reach."
        adopted = [each.uid for each in binding.status.objects if each.adopted]
        try:
            applyset = await self._leases.open(message)
        except Trouble as problem:
            await self._leases.fail(message, binding, problem)
        intended = self._leases.take(binding)
        with self._leases.giving_up(intended):
            leased = await self._records.annotate(ref, intended)
            await self._leases.work(
                message, leased, applyset, lambda at, heirs: at.clear(heirs, orphan=orphan, adopted=adopted)
            )
            await self._records.release(ref, leased)
        return "The objects were left in the target." if orphan else ""

    async def _await_successors(self, message: Assigned, facts: Facts) -> None:
        """Raise Retry until the targets that take over have it, and are healthy or had time to become so.

        The longer it takes, the less often it is looked at: deliveries are counted, and there is no hurry.
        """
        ended = successors(facts.binding, facts.decision)
        after = ended if may_not_run_twice(facts.placement) else message.after or ended
        if not after:
            return
        decided_at = seconds((facts.decision.status.decided_at or "") if facts.decision else "")
        delay = min(_HANDOVER_MOST, max(_HANDOVER, (self._clock() - decided_at) / 4)) if decided_at else _HANDOVER
        present = {TargetRef.of(each.spec.target).id: each for each in await self._records.others(message.placement)}
        for target in after:
            successor = present.get(target)
            if successor is None or not lifecycle.in_place(successor):
                raise Retry(delay, f"{target} has to take over first")
            healthy = self._is_healthy(message.placement, target)
            since = seconds(successor.status.last_applied or "")
            if not healthy and self._clock() < since + self._settings.handover_seconds:
                raise Retry(delay, f"{target} has to become healthy first")


async def _nobody() -> Mapping[Identity, PlacementRef]:
    """Who takes over what several placements of the namespace referred to, where there is no namespace any more."""
    return {}


async def out_of_reach(target: str, reach: Reach, records: Records) -> bool:
    """Whether a target is gone for good, with its SyncTarget. Raises Retry for one that is there, but not known yet."""
    if reach.knows(target):
        return False
    if await records.target_exists(target):
        raise Retry(_UNKNOWN, f"target {target} is not in the inventory (yet)")
    return True

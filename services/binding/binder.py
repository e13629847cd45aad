"""The order of steps that makes crashes and races harmless.

Before anything happens in a target, the PlacementBinding says so (created or changed by compare-and-set, then leased);
afterwards it says what came of it. Whoever finds another's lease waits; whoever loses a write reads again and acts on
what is true then. A binding that is deleted stays until the target has been cleared.
"""

import functools
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from services.binding import core, lifecycle, trouble
from services.binding.records import Facts, Records
from services.binding.settings import BindingSettings
from services.binding.target.applyset import applyset_of
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble
from services.binding.workload import Workspaces
from shared.api import PlacementBinding
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.retry import SOON
from shared.kube.errors import ApiError, KubeError
from shared.kube.times import seconds
from shared.model.refs import PlacementRef, TargetRef
from shared.model.report import ObjectHealth, TargetReport
from shared.model.request import HeadEntry
from shared.pipeline.messages import Assigned, Bound, Observed

T = TypeVar("T")

_LEASED = 0.5  # seconds; a binding is in others' hands for a few tenths of a second
_HANDOVER, _HANDOVER_MOST = 1.0, 60.0  # seconds
_UNKNOWN = 30.0  # seconds
_WRITES = 5  # attempts, when others write at the same time


class Binder:
    """Applies and removes. `publish` tells of a failure, since a handler that raises Retry returns no message."""

    def __init__(
        self,
        settings: BindingSettings,
        *,
        records: Records,
        workspaces: Workspaces,
        reach: Reach,
        heads: View[HeadEntry],
        reports: View[TargetReport],
        publish: Callable[[Bound], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._records = records
        self._workspaces = workspaces
        self._reach = reach
        self._heads = heads
        self._reports = reports
        self._publish = publish
        self._clock = clock

    async def bind(self, message: Assigned) -> Bound | None:
        """Bring one target to where it is to be now. Raises Retry, and what the hub answers."""
        facts = await self._records.facts(message.placement, message.target)
        match self._judge(message, facts):
            case "drop":
                return None
            case "remove":
                return await self._remove(message, facts)
            case "apply":
                return await self._apply(message, facts)

    def _judge(self, message: Assigned, facts: Facts) -> lifecycle.Verdict:
        ref = message.placement
        head = self._heads.get(ref.key)
        newest = head.head.attempt if head else 0
        return lifecycle.judge(message, facts.placement, facts.decision, facts.binding, newest)

    # --- apply ------------------------------------------------------------------------------------------------------

    async def correct(self, message: Observed, drifted: Collection[core.Identity]) -> Bound | None:
        """Apply once more what a binding was last written for, above all the `drifted` objects. Raises as `bind`."""
        facts = await self._records.facts(message.placement, message.target)
        if facts.binding is None or lifecycle.deleting(facts.binding):
            return None
        assigned = Assigned(
            placement=message.placement,
            head=message.head,
            target=message.target,
            replicas=facts.binding.spec.replicas,
        )
        if self._judge(assigned, facts) != "apply":
            return None  # what is to be done instead is in a message of its own
        return await self._apply(assigned, facts, drifted)

    async def _apply(self, message: Assigned, facts: Facts, drifted: Collection[core.Identity] = ()) -> Bound | None:
        ref, before = message.placement, facts.binding
        if before is not None:
            self._await_lease(before)
            if lifecycle.deleting(before):  # somebody deleted it by hand: it ends as it should, and begins anew
                await self._remove(message, facts)
                raise Retry(SOON, "the binding was being deleted")
        replicas = lifecycle.replicas_for(message, facts.decision)
        problem: Trouble | None = None
        wanted: core.Wanted | None = None
        try:
            wanted = await self._wanted(message, facts, replicas)
        except Trouble as error:
            problem = error
        model = before or lifecycle.fresh(message, replicas)
        intended = lifecycle.intended(model, message, wanted, replicas)
        if before is None:
            binding = await self._records.create(ref, intended)
            # What was decided meanwhile was decided by somebody who could not see this binding.
            facts = await self._records.facts(ref, message.target)
            if self._judge(message, facts) != "apply":
                return await self._remove(message, facts)
        else:
            binding = before if intended is before else await self._records.write(ref, intended)
        if wanted is None:
            assert problem is not None
            return await self._fail(message, binding, problem)
        if lifecycle.settled(binding) and not drifted:
            return _bound(message, binding)
        force = facts.placement is not None and facts.placement.spec.conflict_policy == "TakeOver"
        return await self._apply_in_target(message, before, binding, wanted, drifted, force=force)

    async def _wanted(self, message: Assigned, facts: Facts, replicas: int | None) -> core.Wanted:
        assert facts.placement is not None
        target = self._reach.target(message.target)
        ref, spec = message.placement, facts.placement.spec
        try:
            collected = await self._workspaces.collect(ref, spec)
        except ApiError as error:
            if not error.forbidden:
                raise
            raise trouble.of(error, f"workspace {ref.workspace or 'hub'}") from error
        try:
            return core.wanted(
                ref,
                spec,
                collected,
                target_labels=target.labels,
                replicas=replicas,
                applyset=applyset_of(ref),
            )
        except core.Unfit as error:
            raise trouble.lasting("Unfit", str(error)) from None

    async def _apply_in_target(
        self,
        message: Assigned,
        before: PlacementBinding | None,
        binding: PlacementBinding,
        wanted: core.Wanted,
        drifted: Collection[core.Identity],
        *,
        force: bool,
    ) -> Bound:
        ref = message.placement
        recorded = {core.identity(each.ref): each for each in binding.status.objects}
        known = recorded.keys() - set(drifted)
        hashes = {core.identity(each): each.hash for each in before.spec.manifests} if before else {}
        whole = before is not None and lifecycle.settled(before)
        unchanged = {
            name for each in wanted.refs if whole and (name := core.identity(each)) in known
            and hashes.get(name) == each.hash
        }  # fmt: skip
        try:
            cluster = await self._reach.open(message.target, ref)
            binding = await self._records.write_status(ref, lifecycle.begun(binding, "Applying", self._clock()))
            heirs = functools.partial(self._heirs, message)
            applying = cluster.apply(wanted, unchanged=unchanged, known=known, force=force, heirs=heirs)
            applied = await self._reach.work(message.target, applying)
        except Trouble as problem:
            return await self._fail(message, binding, problem)
        found = {**recorded, **{core.identity(each.ref): each for each in applied}}
        objects = [found[core.identity(each)] for each in wanted.refs]
        binding = await self._settle(
            message, binding, lambda now: lifecycle.succeeded(now, objects, wanted.notes, self._clock())
        )
        return _bound(message, binding)

    # --- remove -----------------------------------------------------------------------------------------------------

    async def _remove(self, message: Assigned, facts: Facts) -> Bound:
        ref, binding, placement = message.placement, facts.binding, facts.placement
        if binding is None:
            return _removed(message, "", "")
        self._await_lease(binding)
        leaving = placement is None or placement.metadata.deletion_timestamp is not None
        if not leaving and not lifecycle.deleting(binding):
            await self._await_successors(message, facts)
        if not lifecycle.deleting(binding):
            await self._records.delete(ref, binding)
            marked = await self._records.binding(ref, message.target)
            if marked is None:
                return _removed(message, binding.metadata.resource_version, "")
            binding = marked
        orphan = message.orphan or (leaving and placement is not None and placement.spec.deletion_policy == "Orphan")
        note = await self._clear(message, binding, orphan=orphan)
        return _removed(message, binding.metadata.resource_version, note)

    async def _clear(self, message: Assigned, binding: PlacementBinding, *, orphan: bool) -> str:
        """Clear the target and let the binding go; what is to be said about it."""
        ref, target = message.placement, message.target
        if not self._reach.knows(target):
            if await self._records.target_exists(target):
                raise Retry(_UNKNOWN, f"target {target} is not in the inventory (yet)")
            await self._records.release(ref, binding)
            return f"SyncTarget {target} does not exist any more: what was placed there is out of reach."
        try:
            cluster = await self._reach.open(message.target, ref)
            binding = await self._records.write_status(ref, lifecycle.begun(binding, "Removing", self._clock()))
            heirs = functools.partial(self._heirs, message)
            await self._reach.work(target, cluster.clear(heirs, orphan=orphan))
        except Trouble as problem:
            await self._fail(message, binding, problem)
        await self._records.release(ref, binding)
        return "The objects were left in the target." if orphan else ""

    async def _await_successors(self, message: Assigned, facts: Facts) -> None:
        """Raise Retry until the targets that take over have it, and are healthy or had time to become so.

        The longer it takes, the less often it is looked at: deliveries are counted, and there is no hurry.
        """
        if not message.after:
            return
        decided_at = seconds((facts.decision.status.decided_at or "") if facts.decision else "")
        delay = min(_HANDOVER_MOST, max(_HANDOVER, (self._clock() - decided_at) / 4)) if decided_at else _HANDOVER
        present = {TargetRef.of(each.spec.target).id: each for each in await self._records.others(message.placement)}
        for target in message.after:
            successor = present.get(target)
            if successor is None or not lifecycle.settled(successor):
                raise Retry(delay, f"{target} has to take over first")
            report = self._reports.get(message.placement.key_in(target))
            healthy = report is not None and all(each.health == "Healthy" for each in report.objects)
            since = seconds(successor.status.last_applied or "")
            if not healthy and self._clock() < since + self._settings.handover_seconds:
                raise Retry(delay, f"{target} has to become healthy first")

    # --- both -------------------------------------------------------------------------------------------------------

    async def _heirs(self, message: Assigned) -> Mapping[core.Identity, PlacementRef]:
        try:
            return await self._records.heirs(message.placement, message.target)
        except KubeError as error:
            raise trouble.passing("HubUnavailable", f"hub: {error}") from error

    async def _fail(self, message: Assigned, binding: PlacementBinding, problem: Trouble) -> Bound:
        """Record trouble, tell of it, and come again: raises Retry, always."""
        binding = await self._settle(message, binding, lambda now: lifecycle.failed(now, problem, self._clock()))
        await self._publish(_bound(message, binding))
        raise Retry(self._reach.delay(message.target, problem, binding.status.retries), problem.message)

    async def _settle(
        self, message: Assigned, leased: PlacementBinding, change: Callable[[PlacementBinding], PlacementBinding]
    ) -> PlacementBinding:
        """Write what came of it. Others may have written meanwhile (a deletion, an edit), but hold no lease."""
        binding = leased
        for _ in range(_WRITES):
            try:
                return await self._records.write_status(message.placement, change(binding))
            except ApiError as error:
                if not (error.conflict or error.not_found):
                    raise
            found = await self._records.binding(message.placement, message.target)
            if found is None or found.metadata.uid != leased.metadata.uid:
                break
            binding = found
        raise Retry(SOON, "the binding was changed by others meanwhile")

    def _await_lease(self, binding: PlacementBinding) -> None:
        wait = lifecycle.leased(binding, self._clock(), self._settings.lease)
        if wait > 0:
            raise Retry(min(wait, _LEASED), f"another worker acts on {binding.metadata.name}")


def _bound(message: Assigned, binding: PlacementBinding) -> Bound:
    return Bound(
        placement=message.placement,
        head=message.head,
        target=message.target,
        phase=binding.status.phase,
        message=lifecycle.message_of(binding),
        objects=tuple(
            ObjectHealth(ref=str(each.ref), health=each.health, message=each.message) for each in binding.status.objects
        ),
        version=binding.metadata.resource_version,
    )


def _removed(message: Assigned, version: str, note: str) -> Bound:
    return Bound(
        placement=message.placement,
        head=message.head,
        target=message.target,
        phase="Removed",
        message=note,
        version=version,
    )

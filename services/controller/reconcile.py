"""Looking at one placement: is it to be placed anew, withdrawn, or left as it is?"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from services.controller import core, selection
from services.controller.core import Decision
from services.controller.settings import ControllerSettings
from services.controller.watches import Watches, WorkspaceWatch
from shared.api import Placement
from shared.broker.bus import Retry
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.hub.names import PLACED_FINALIZER, REQUESTER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.hub.retry import as_retry
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef, PolicyRef, TargetRef
from shared.model.request import Cause, HeadEntry, Request, Requester, Waiting
from shared.model.target import Target
from shared.pipeline.messages import Reported, Requested, Withdrawn

log = logging.getLogger("moorage.controller")

Said = Requested | Withdrawn | Reported
"""What the controller has to say of a placement."""


@dataclass
class Reconciler:
    """Looks at placements one by one; safe to run in many copies, since a head moves by compare-and-set only."""

    settings: ControllerSettings
    watches: Watches
    heads: Table[HeadEntry]
    waiting: View[Waiting]
    waiting_table: Table[Waiting]
    inventory: View[Target]
    policies: View[PolicyEntry]
    clock: Callable[[], float]
    world_changed_at: float = 0.0
    _missing: dict[str, float] = field(default_factory=dict)
    _expelling: dict[str, core.Expelling] = field(default_factory=dict)

    async def reconcile(self, ref: PlacementRef) -> Said | None:
        """What is to be said about a placement now. Raises `Retry` when it cannot be told yet."""
        watch = self.watches.get(ref.workspace)
        if watch is not None and not watch.synced:
            raise Retry(1.0, "its workspace is still being read")
        placement = watch.placement(ref) if watch is not None else None
        entry = await self.heads.get(ref.key)
        if watch is None:
            return None  # a workspace that is not followed (now) says nothing of its placements
        with as_retry():
            if placement is None:
                watch.referred.forget(ref)
                return await self._gone(ref, watch, entry)
            if placement.metadata.deletion_timestamp:
                return await self._withdraw(ref, watch, placement, entry)
            if placement.spec.suspend:
                return await self._suspend(ref, watch, placement, entry)
            return await self._place(ref, watch, placement, entry)

    async def _place(
        self, ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, entry: Entry[HeadEntry] | None
    ) -> Requested | None:
        if PLACED_FINALIZER not in placement.metadata.finalizers:
            await self._set_finalizers(watch, placement, (*placement.metadata.finalizers, PLACED_FINALIZER))
        workload, along, error = await selection.of(ref, watch, placement)
        requester = requester_of(placement)
        in_force = self._policies_in_force(ref.workspace)
        digest = core.digest(placement.spec, placement.metadata.labels, requester, workload, error, in_force, along)
        decision = watch.decision(ref)
        leaving = self.leaving(placement, decision, self.clock()) if decision else []
        leaving = [target for target in leaving if await self._really_gone(target)]
        cause = self._cause(ref, placement, entry, digest, decision, leaving)
        if cause is None:
            return None
        in_vain = entry.value.in_vain + 1 if entry and cause == core.NOT_IN_PLACE else 0
        head = await self._advance(ref, placement, entry, decision, digest, leaving=tuple(leaving), in_vain=in_vain)
        if head is None:
            raise Retry(0.0, "another controller was faster")
        request = Request(
            placement=ref,
            head=head,
            cause=cause,
            spec=msgspec.structs.replace(placement.spec, manifests=()),  # binding reads them itself; they may be secret
            labels=placement.metadata.labels,
            requester=requester,
            workload=workload,
            previous=decision.selected if decision else (),
            leaving=tuple(leaving),
            moved_at=decision.moved_at if decision else 0.0,
            policy_revision=self.policies.revision,
            requested_at=self.clock(),
            error=error,
        )
        return Requested(request=request)

    def _cause(
        self,
        ref: PlacementRef,
        placement: Placement,
        entry: Entry[HeadEntry] | None,
        digest: str,
        decision: Decision | None,
        leaving: list[str],
    ) -> Cause | None:
        now = self.clock()
        waiting = self.waiting.get(ref.key)
        known = entry.value if entry else None
        return core.next_cause(
            known,
            placement.metadata.uid,
            digest,
            decision,
            waiting,
            leaving,
            self.left_over(ref, decision) if decision else (),
            is_due=waiting is not None and core.due(waiting, self.world_changed_at, now),
            unanswered=self._overdue(known),
            unsettled=bool(decision and known and self.unsettled(ref, placement, decision, known, now)),
            may_improve=bool(decision and known and self.may_improve(placement, decision, known, now)),
        )

    def may_improve(self, placement: Placement, decision: Decision, head: HeadEntry, now: float) -> bool:
        """Whether it is time to look for better targets for a healthy placement."""
        rebalance, pause = placement.spec.stability.rebalance, self.settings.rebalance_seconds
        return core.may_improve(rebalance, decision.moved_at, head.requested_at, self.world_changed_at, pause, now)

    def unsettled(
        self, ref: PlacementRef, placement: Placement, decision: Decision, head: HeadEntry, now: float
    ) -> bool:
        """Whether what was decided for a placement should be in place by now, and is not."""
        if placement.spec.suspend or now - head.requested_at < core.settling(self.settings.unsettled_seconds, head):
            return False
        watch = self.watches.get(ref.workspace)
        return watch is not None and not core.settled(placement.status, decision, watch.attempts(ref))

    def leaving(self, placement: Placement, decision: Decision, now: float) -> list[str]:
        """The selected targets that a placement has to leave now."""
        own = placement.spec.stability.eviction_toleration_seconds
        patience = self.settings.eviction_toleration_seconds if own is None else float(own)
        present: list[tuple[Target, core.Expelling]] = []
        gone: list[str] = []
        for choice in decision.selected:
            target = self.inventory.get(TargetRef.parse(choice.target).key)
            if target is not None:
                self._missing.pop(choice.target, None)
                present.append((target, self._expelling_of(target, now)))
            elif now - self._missing.setdefault(choice.target, now) >= self.settings.missing_seconds:
                gone.append(choice.target)
        return gone + core.evicted(present, placement.spec.targets.tolerations, patience, now)

    async def _really_gone(self, target: str) -> bool:
        """Whether a target that is to be left may be: one that no inventory has must be gone from its workspace."""
        ref = TargetRef.parse(target)
        if self.inventory.get(ref.key) is not None:
            return True
        watch = self.watches.get(ref.workspace)
        return watch is not None and await watch.target_is_gone(ref.name)

    def _expelling_of(self, target: Target, now: float) -> core.Expelling:
        """The NoExecute taints of a target, and since when this worker has seen them."""
        found = core.expelling(target, self._expelling.pop(target.id, {}), now)
        if found:
            self._expelling[target.id] = found
        return found

    def left_over(self, ref: PlacementRef, decision: Decision) -> list[str]:
        """The targets that a placement is still bound in though they are not selected, and that can be cleared now.

        A removal is given up while its target is lost for long; when the target is back, it is asked for again.
        """
        watch = self.watches.get(ref.workspace)
        bound = watch.bound_in(ref) if watch is not None else set()
        rest = bound - {choice.target for choice in decision.selected}
        found = ((target, self.inventory.get(TargetRef.parse(target).key)) for target in rest)
        return [target for target, known in found if known is not None and not known.lost_since]

    def note_world(self) -> None:
        """Something changed that may help those that wait: a target, a workspace, or capacity that was given back."""
        self.world_changed_at = self.clock()

    def _policies_in_force(self, workspace: str) -> list[PolicyEntry]:
        """The policies for a workspace, once the policy workers can see them as they are; raises `Retry` before."""
        found: list[PolicyEntry] = []
        for path in core.above(workspace):
            watch = self.watches.get(path)
            if watch is None:
                continue
            if not watch.synced:
                raise Retry(1.0, f"policies of {path} are still being read")
            found += watch.policies()
        if any(self.policies.get(PolicyRef.of(policy).key) != policy for policy in found):
            raise Retry(0.05, "a policy is just being published")
        return found

    async def _advance(
        self,
        ref: PlacementRef,
        placement: Placement | None,
        entry: Entry[HeadEntry] | None,
        decision: Decision | None,
        digest: str,
        *,
        leaving: tuple[str, ...] = (),
        deleted: bool = False,
        in_vain: int = 0,
    ) -> Head | None:
        """Move the head on by one attempt; None when somebody else did meanwhile."""
        known = entry.value.head if entry else Head(uid="", generation=0, attempt=0)
        attempt = max(known.attempt, decision.attempt if decision else 0) + 1
        uid = placement.metadata.uid if placement else known.uid
        generation = placement.metadata.generation if placement else known.generation
        head = Head(uid=uid, generation=generation, attempt=attempt)
        value = HeadEntry(
            head=head,
            digest=digest,
            leaving=leaving,
            requested_at=self.clock(),
            deleted=deleted,
            in_vain=in_vain,
        )
        try:
            await self.heads.update(ref.key, value, entry.revision if entry else 0)
        except Conflict:
            return None
        return head

    def _overdue(self, entry: HeadEntry | None) -> bool:
        """Whether what was last said of a placement should have been answered by now."""
        return entry is not None and self.clock() - entry.requested_at >= self.settings.resync_seconds

    async def _suspend(
        self, ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, entry: Entry[HeadEntry] | None
    ) -> Reported | None:
        """A placement is suspended: a round under way is superseded by none, and its status is to say so.

        The head that moves on has stages drop that round. What they decide all the same is not acted on: binding looks
        at the Placement.
        """
        await self._stop_waiting(ref)
        known = entry.value if entry else None
        answered = placement.status.phase == "Suspended" or not self._overdue(known)
        if core.suspended(known, placement.metadata.uid) and answered:
            return None
        head = await self._advance(ref, placement, entry, watch.decision(ref), core.SUSPENDED)
        if head is None:
            raise Retry(0.0, "another controller was faster")
        return Reported(placement=ref, head=head, fact="suspended")

    async def _withdraw(
        self, ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, entry: Entry[HeadEntry] | None
    ) -> Withdrawn | None:
        """A placement is being deleted: have it undone, and let it go once nothing of it is left."""
        if PLACED_FINALIZER not in placement.metadata.finalizers:
            return None
        await self._stop_waiting(ref)
        known = entry.value if entry else None
        said = known is not None and known.deleted and known.head.uid == placement.metadata.uid
        clean = watch.decision(ref) is None and not watch.bound_in(ref)
        message = None
        if not said or (self._overdue(known) and not clean):
            head = await self._advance(ref, placement, entry, watch.decision(ref), "", deleted=True)
            if head is None:
                raise Retry(0.0, "another controller was faster")
            orphan = placement.spec.deletion_policy == "Orphan"
            message = Withdrawn(placement=ref, head=head, orphan=orphan)
        if clean:
            rest = tuple(name for name in placement.metadata.finalizers if name != PLACED_FINALIZER)
            await self._set_finalizers(watch, placement, rest)
        return message

    async def _gone(self, ref: PlacementRef, watch: WorkspaceWatch, entry: Entry[HeadEntry] | None) -> Withdrawn | None:
        """A placement is not there (any more); when it was never withdrawn, or not to the end, it is now.

        What runs is taken away on this word, so the API server itself has to say that the object is gone.
        """
        await self._stop_waiting(ref)
        rest = watch.decision(ref) is not None or bool(watch.bound_in(ref))
        if entry is None or (entry.value.deleted and not (rest and self._overdue(entry.value))):
            return None
        if not await watch.is_gone(ref):
            return None
        head = await self._advance(ref, None, entry, watch.decision(ref), "", deleted=True)
        return Withdrawn(placement=ref, head=head) if head else None

    async def _stop_waiting(self, ref: PlacementRef) -> None:
        """A placement that goes away does not wait any more."""
        if self.waiting.get(ref.key) is not None:
            await self.waiting_table.delete(ref.key)

    async def _set_finalizers(self, watch: WorkspaceWatch, placement: Placement, finalizers: tuple[str, ...]) -> None:
        metadata = placement.metadata
        patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": list(finalizers)}}
        await watch.client.merge_patch(PLACEMENTS, metadata.name, patch, metadata.namespace)


def requester_of(placement: Placement) -> Requester | None:
    """Who created a placement, as admission recorded it; None where nothing usable is recorded."""
    recorded = placement.metadata.annotations.get(REQUESTER_ANNOTATION)
    if not recorded:
        return None
    try:
        return msgspec.json.decode(recorded, type=Requester)
    except msgspec.DecodeError:
        return None

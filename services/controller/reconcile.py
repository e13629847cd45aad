"""Looking at one placement: observe, decide on the next step, carry it out."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from services.controller.core.digest import SUSPENDED, digest
from services.controller.core.evicting import noted_eviction
from services.controller.core.eviction import Sighting, gone, leaving_since
from services.controller.core.observation import Observation
from services.controller.core.rebalance import looking, noted
from services.controller.core.steps import (
    Hold,
    LetGo,
    Nothing,
    Place,
    Suspend,
    Wait,
    Withdraw,
    is_live,
    is_move,
    next_step,
    preempted_from,
)
from services.controller.core.wish import Wish
from services.controller.observer import Observer
from services.controller.overrides import Overrides
from services.controller.publishing import ensure_published
from services.controller.scoping import scope_labels
from services.controller.selection import Selection, Selections
from services.controller.watches import Watches
from services.controller.workspace import SYNC_TIMEOUT, WorkspaceWatch
from shared.aio.lru import Lru
from shared.aio.rate import Rate
from shared.api import Placement, PlacementStatus
from shared.broker.bus import Retry
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.broker.tokens import join
from shared.hub.counting import Counted
from shared.hub.names import HOLD_ANNOTATION, PLACED_FINALIZER
from shared.hub.requester import requester_of
from shared.hub.resources import PLACEMENTS
from shared.hub.retry import as_retry
from shared.kube.times import rfc3339
from shared.model.declared import DeclaredKind
from shared.model.policy import PolicyEntry
from shared.model.quota import WorkspaceQuota
from shared.model.refs import Head, PlacementRef, PolicyRef, TargetRef, above
from shared.model.request import HeadEntry, Request, ScopeLabels, Waiting, WorkloadObject
from shared.model.target import Workspace
from shared.pipeline.messages import Cleared, Reported, Requested, Withdrawn
from shared.process import audit

Said = Requested | Withdrawn | Reported
"""What the controller has to say of a placement."""

_WRITTEN = 10_000  # heads, of half a KB each; what is forgotten is read


@dataclass(frozen=True)
class Case:
    """A placement that is looked at, and what a step that is carried out needs besides the observation."""

    ref: PlacementRef
    watch: WorkspaceWatch
    entry: Entry[HeadEntry] | None
    wish: Wish | None
    seen: Observation


@dataclass
class Reconciler:
    """Looks at placements one by one; safe to run in many copies, since a head moves by compare-and-set only."""

    observer: Observer
    watches: Watches
    heads: Table[HeadEntry]
    waiting: Table[Waiting]
    policies: View[PolicyEntry]
    kinds: View[DeclaredKind]
    quotas: View[WorkspaceQuota]
    workspaces: View[Workspace]
    rounds: Rate  # by workspace
    selections: Selections
    overrides: Overrides
    tell: Callable[[Cleared], Awaitable[None]]
    look_at: Callable[[PlacementRef], None]
    outdated: set[str] = field(default_factory=set)
    """Keys of heads that turned out to be newer than was known, each until it is looked at again."""
    written: Lru[str, Entry[HeadEntry]] = field(default_factory=lambda: Lru(_WRITTEN))
    """Heads that were written here, each until it was heard of."""
    _unread: set[PlacementRef] = field(default_factory=set)  # those that are looked at again

    async def reconcile(self, ref: PlacementRef) -> Said | None:
        """What is to be said about a placement now. Raises `Retry` when it cannot be told yet."""
        watch = self.watches.get(ref.workspace)
        if watch is None:
            return None  # a workspace that is not followed (now) says nothing of its placements
        if not watch.synced:
            raise Retry(1.0, "its workspace is still being read")
        with as_retry():
            return await self._carry_out(await self._look(ref, watch))

    async def _look(self, ref: PlacementRef, watch: WorkspaceWatch) -> Case:
        placement, entry, wish = watch.placement(ref), await self._known(ref.key), None
        if placement is None:
            watch.referred.forget(ref)
        elif is_live(placement):
            await self._hold(watch, placement)
            kept = entry.value.kept if entry is not None and not entry.value.deleted else ()
            wish = await self._wish(ref, watch, placement, kept)
            if wish.unread:
                self._look_again(ref)
        head, digest = entry.value if entry is not None else None, wish.digest if wish is not None else None
        seen = self.observer.observe(watch, ref, placement, head, key=ref.key, digest=digest)
        return Case(ref, watch, entry, wish, await self._checked(seen))

    async def _known(self, key: str) -> Entry[HeadEntry] | None:
        """The head as was last heard or written; what is written by that fails where it is outdated, and then it is
        read."""
        if key in self.outdated:
            self.outdated.discard(key)
            return await self.heads.get(key)
        heard, written = self.observer.heads, self.written.get(key)
        if written is not None and heard.revision < written.revision:
            return written
        self.written.pop(key)
        return heard.entries.get(key)

    async def _move(self, case: Case, value: HeadEntry) -> int:
        """Write a head in place of the one that is known; the revision. Raises `Retry` when somebody else wrote."""
        key = case.ref.key
        try:
            revision = await self.heads.update(key, value, case.entry.revision if case.entry else 0)
        except Conflict:
            self.outdated.add(key)
            raise Retry(0.0, "another controller was faster") from None
        self.written.put(key, Entry(key, value, revision))
        return revision

    def _look_again(self, ref: PlacementRef) -> None:
        """Look at it later: nothing tells of a right that is given back."""
        if ref not in self._unread:
            self._unread.add(ref)
            asyncio.get_running_loop().call_later(self.observer.settings.resync_seconds, self._again, ref)

    def _again(self, ref: PlacementRef) -> None:
        self._unread.discard(ref)
        self.look_at(ref)

    async def _wish(
        self, ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, kept: tuple[WorkloadObject, ...]
    ) -> Wish:
        ensure_published(ref.workspace, self.watches, self.kinds, self.quotas)
        targets = (entry.value for entry in self.observer.inventory.entries.values())
        selected = await self.selections.of(ref, watch, placement, targets, kept)
        counted = selected.counted
        most, decision = self.observer.settings.max_workspace_placements, watch.decision(ref)
        beyond = (ref.namespace, ref.name) in watch.beyond(most) and not (decision is not None and decision.selected)
        if beyond:
            counted = Counted(error=f"its workspace has more than the {most} Placements that it may")
            selected = Selection(counted)
        requester, policies = requester_of(placement), self._policies_in_force(ref.workspace)
        overrides = await self.overrides.in_force(ref, placement)
        labels = await self._scope_labels(ref, watch, policies)
        found = digest(
            placement.spec,
            placement.metadata.labels,
            requester,
            counted.workload,
            counted.error,
            policies,
            selected.along,
            selected.digest,
            overrides,
            labels,
        )
        return Wish(
            requester=requester,
            counted=counted,
            input_digest=selected.digest,
            digest=found,
            beyond=beyond,
            unread=selected.unread,
            kept=selected.kept,
            targets=selected.targets,
            overrides=overrides,
            scope_labels=labels,
        )

    def _policies_in_force(self, workspace: str) -> list[PolicyEntry]:
        """The policies for a workspace, once the policy workers can see them as they are; raises `Retry` before."""
        found: list[PolicyEntry] = []
        for path in above(workspace):
            watch = self.watches.get(path)
            if watch is None:
                continue
            if not watch.synced:
                raise Retry(1.0, f"policies of {path} are still being read")
            found += watch.policies.all()
        if any(self.policies.get(PolicyRef.of(policy).key) != policy for policy in found):
            raise Retry(0.05, "a policy is just being published")
        return found

    async def _scope_labels(
        self, ref: PlacementRef, watch: WorkspaceWatch, policies: Sequence[PolicyEntry]
    ) -> ScopeLabels:
        """The labels by which policies choose placements. Raises `Retry` until they are read."""

        def workspace(path: str) -> Workspace | None:
            return self.workspaces.get(join(path))

        try:
            return await scope_labels(ref, policies, workspace, watch.namespaces, SYNC_TIMEOUT)
        except TimeoutError:
            raise Retry(5.0, f"namespaces of {ref.workspace or 'the hub'} are not read yet") from None

    async def _checked(self, seen: Observation) -> Observation:
        """An observation in which targets count as gone only where their workspace itself, asked now, has none."""
        chosen = seen.decision.selected if seen.decision is not None else ()
        selected = {choice.target: seen.targets[choice.target] for choice in chosen}
        there = {
            target: Sighting(missing_since=math.inf)
            for target in gone(selected, seen.settings.missing_seconds, seen.now)
            if not await self._target_is_gone(TargetRef.parse(target))
        }
        return msgspec.structs.replace(seen, targets={**seen.targets, **there}) if there else seen

    async def _target_is_gone(self, target: TargetRef) -> bool:
        watch = self.watches.get(target.workspace)
        return watch is not None and await watch.target_is_gone(target.name)

    async def _carry_out(self, case: Case) -> Said | None:
        placement, step = case.seen.placement, next_step(case.seen)
        if not is_live(placement):
            await self._stop_waiting(case)
        match step:
            case Place() if placement is not None and case.wish is not None:
                if is_move(step.cause) and not self.observer.moves.take(case.ref.workspace, step.leaving):
                    return None  # the sweep comes back to it
                self._take_turn(case, case.wish)
                return await self._place(case, placement, case.wish, step)
            case Withdraw():
                return await self._withdraw(case, step)
            case Suspend():
                return Reported(placement=case.ref, head=await self._advance(case, SUSPENDED), fact="suspended")
            case Hold():
                return await self._hold_still(case, step)
            case LetGo() if placement is not None and case.entry is not None:
                await self._let_go(case, placement, case.entry.value.head)
            case Wait() | Nothing():
                pass
            case _:
                raise AssertionError(f"{step} is no step of such a placement")
        return None

    def _take_turn(self, case: Case, wish: Wish) -> None:
        """Raises Retry where the workspace has had as many rounds as it may for now."""
        workspace, requester = case.ref.workspace, wish.requester.username if wish.requester else ""
        if not self.rounds.take(workspace):
            if self.rounds.begins_to_wait(workspace):
                audit.refused("TooManyRounds", requester=requester, placement=str(case.ref))
            raise Retry(self.rounds.wait(workspace), "its workspace has had its rounds for now")
        if wish.beyond:
            audit.refused("TooManyPlacements", requester=requester, placement=str(case.ref))

    async def _place(self, case: Case, placement: Placement, wish: Wish, step: Place) -> Requested:
        head = await self._advance(
            case, wish.digest, leaving=step.leaving, in_vain=step.in_vain, kept=wish.kept, looks=step.looks
        )
        spec = looking(placement.spec) if step.looks else placement.spec
        decision = case.seen.decision
        request = Request(
            placement=case.ref,
            head=head,
            cause=step.cause,
            spec=msgspec.structs.replace(  # binding reads manifests itself; they may be secret
                spec, manifests=(), targets=wish.targets or spec.targets
            ),
            labels=placement.metadata.labels,
            requester=wish.requester,
            scope_labels=wish.scope_labels,
            workload=wish.counted.workload,
            variants=wish.counted.variants,
            input_digest=wish.input_digest,
            previous=decision.selected if decision else (),
            leaving=step.leaving,
            leaving_since=leaving_since(case.seen.entry, step.leaving, head.attempt),
            bound=tuple(sorted(case.seen.attempts)),
            moved_at=decision.moved_at if decision else 0.0,
            policy_revision=self.policies.revision,
            quota_revision=self.quotas.revision,
            requested_at=self.observer.clock(),
            hold=placement.metadata.annotations.get(HOLD_ANNOTATION, ""),
            unreported=placement.metadata.resource_version if placement.status == PlacementStatus() else "",
            error=wish.counted.error,
            operator_overrides=wish.overrides,
            unread=wish.unread,
            preempted=preempted_from(case.seen, step.leaving),
        )
        return Requested(request=request)

    async def _hold_still(self, case: Case, step: Hold) -> Reported | None:
        """Note with the head why a placement stays where it is; its status shows it."""
        if case.entry is None:
            return None
        noted = msgspec.structs.replace(case.entry.value, held=step.why, held_reason=step.reason)
        revision = await self._move(case, noted)
        return Reported(placement=case.ref, head=noted.head, fact=f"held-{revision}")

    async def _withdraw(self, case: Case, step: Withdraw) -> Withdrawn | None:
        if step.unproven and not await case.watch.is_gone(case.ref):
            return None
        head = await self._advance(case, "", deleted=True)
        if step.let_go and case.seen.placement is not None:
            await self._let_go(case, case.seen.placement, head)
        chosen = case.seen.decision.selected if case.seen.decision is not None else ()
        targets = tuple(sorted({*case.seen.attempts, *(choice.target for choice in chosen)}))
        return Withdrawn(placement=case.ref, head=head, orphan=step.orphan, targets=targets)

    async def _advance(
        self,
        case: Case,
        digest: str,
        *,
        leaving: tuple[str, ...] = (),
        deleted: bool = False,
        in_vain: int = 0,
        kept: tuple[WorkloadObject, ...] = (),
        looks: bool = False,
    ) -> Head:
        """Move the head on by one attempt. Raises `Retry` when somebody else did meanwhile.

        Of rounds under way, all stages drop what they hold: they know a newer head.
        """
        known = case.entry.value.head if case.entry else Head(uid="", generation=0, attempt=0)
        decision, placement = case.seen.decision, case.seen.placement
        head = Head(
            uid=placement.metadata.uid if placement else known.uid,
            generation=placement.metadata.generation if placement else known.generation,
            attempt=max(known.attempt, decision.attempt if decision else 0) + 1,
        )
        before = case.entry.value if case.entry else None
        rebalance, since = noted(before, placement, decision, head.attempt, looks=looks)
        evict, evict_since = noted_eviction(before, placement, decision, leaving, head.attempt)
        value = HeadEntry(
            head=head,
            digest=digest,
            leaving=leaving,
            leaving_since=leaving_since(before, leaving, head.attempt),
            requested_at=self.observer.clock(),
            deleted=deleted,
            in_vain=in_vain,
            kept=kept,
            held=before.held if before and placement else "",
            held_reason=before.held_reason if before and placement else "",
            rebalance=rebalance,
            rebalance_since=since,
            evict=evict,
            evict_since=evict_since,
        )
        await self._move(case, value)
        return head

    async def _stop_waiting(self, case: Case) -> None:
        """A placement that goes away, or is suspended, does not wait any more."""
        if case.seen.waiting is not None:
            await self.waiting.delete(case.ref.key)

    async def _hold(self, watch: WorkspaceWatch, placement: Placement) -> None:
        """Keep a Placement from vanishing before what is placed for it has been removed."""
        if PLACED_FINALIZER not in placement.metadata.finalizers:
            await _set_finalizers(watch, placement, (*placement.metadata.finalizers, PLACED_FINALIZER))

    async def _let_go(self, case: Case, placement: Placement, head: Head) -> None:
        """Let a Placement vanish, of which nothing is left anywhere. That is told first: later nobody knows of it."""
        since = rfc3339(self.observer.clock())
        await self.tell(Cleared(placement=case.ref, head=head, since=since))
        rest = tuple(name for name in placement.metadata.finalizers if name != PLACED_FINALIZER)
        await _set_finalizers(case.watch, placement, rest)


async def _set_finalizers(watch: WorkspaceWatch, placement: Placement, finalizers: tuple[str, ...]) -> None:
    metadata = placement.metadata
    patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": list(finalizers)}}
    await watch.client.merge_patch(PLACEMENTS, metadata.name, patch, metadata.namespace)

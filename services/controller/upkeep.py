"""What keeps the controller's picture current: the views that it follows, and a sweep for what no event tells of."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

import msgspec

from services.controller import core
from services.controller.reconcile import Reconciler
from services.controller.settings import ControllerSettings
from services.controller.watches import Watches, WorkspaceWatch
from shared.aio.workqueue import WorkQueue
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef, PolicyRef
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Workspace

log = logging.getLogger("moorage.controller")


@dataclass
class Controller:
    """What the controller's functions work with."""

    settings: ControllerSettings
    queue: WorkQueue[PlacementRef]
    watches: Watches
    reconciler: Reconciler
    waiting: Table[Waiting]
    heads: View[HeadEntry]
    heads_table: Table[HeadEntry]
    policies_table: Table[PolicyEntry]
    changed_policies: WorkQueue[tuple[str, str]]


async def sweep(deps: Controller) -> None:
    """Find what no event tells of: waiting that ended, targets lost for too long, requests without an answer."""
    now = deps.reconciler.clock()
    for key, waiting in list(deps.reconciler.waiting.entries.items()):
        known = deps.heads.get(key)
        if known is None or known.deleted:
            await deps.waiting.delete(key)
        elif waiting.value.head == known.head and core.due(waiting.value, deps.reconciler.world_changed_at, now):
            deps.queue.add(waiting.value.placement)
    for key, head in list(deps.heads.entries.items()):
        age = now - head.value.requested_at
        if head.value.deleted and age > deps.settings.forget_heads_seconds:
            await deps.heads_table.delete(key, head.revision)
        elif age >= deps.settings.resync_seconds and not _answered(deps, key, head.value):
            deps.queue.add(PlacementRef.from_key(key))
        elif _unfollowed(deps, key, head.value):
            with contextlib.suppress(Conflict):
                marked = msgspec.structs.replace(head.value, digest=core.UNFOLLOWED)
                await deps.heads_table.update(key, marked, head.revision)
    for policy in list(deps.reconciler.policies.entries.values()):
        path, name = policy.value.workspace, policy.value.name
        watch = deps.watches.get(path)
        if watch is not None and watch.synced and watch.policy(name) is None:
            deps.changed_policies.add((path, name))
    for watch in deps.watches.all():
        _sweep_unseen(deps, watch)
        _sweep_targets(deps, watch, now)


def _unfollowed(deps: Controller, key: str, entry: HeadEntry) -> bool:
    """Whether the workspace of a placement has left the tree, and the head does not say so yet."""
    workspace = PlacementRef.from_key(key).workspace
    if entry.deleted or entry.digest == core.UNFOLLOWED or deps.watches.get(workspace) is not None:
        return False
    return bool(deps.watches.all())  # none at all: the tree is not read yet


def _sweep_unseen(deps: Controller, watch: WorkspaceWatch) -> None:
    """Find the placements that have no head for what they are now: their turn was lost with a worker or the bus."""
    for ref in watch.placements() if watch.synced else ():
        placement, known = watch.placement(ref), deps.heads.get(ref.key)
        if placement is None or placement.metadata.deletion_timestamp:
            continue
        metadata = placement.metadata
        if placement.spec.suspend:
            if not core.suspended(known, metadata.uid):
                deps.queue.add(ref)
        elif known is None or (known.head.uid, known.head.generation) != (metadata.uid, metadata.generation):
            deps.queue.add(ref)


def _sweep_targets(deps: Controller, watch: WorkspaceWatch, now: float) -> None:
    """Find the placements that are in targets where they should not be (any more)."""
    for ref, decision in watch.decisions():
        placement = watch.placement(ref)
        if placement is None:
            continue
        stray = watch.bound_in(ref) - {choice.target for choice in decision.selected}
        head = deps.heads.get(ref.key)
        improvable = head is not None and deps.reconciler.may_improve(placement, decision, head, now)
        unsettled = head is not None and deps.reconciler.unsettled(ref, placement, decision, head, now)
        if stray or improvable or unsettled or deps.reconciler.leaving(placement, decision, now):
            deps.queue.add(ref)


def _answered(deps: Controller, key: str, entry: HeadEntry) -> bool:
    """Whether the newest request of a placement needs no repeating, as far as can be told without asking."""
    ref = PlacementRef.from_key(key)
    watch = deps.watches.get(ref.workspace)
    if watch is None or not watch.synced:
        return True  # nothing can be said of it
    if entry.deleted:
        return watch.placement(ref) is None and watch.decision(ref) is None and not watch.bound_in(ref)
    placement = watch.placement(ref)
    if placement is not None and placement.spec.suspend:
        return placement.status.phase == "Suspended"
    decision, waiting = watch.decision(ref), deps.reconciler.waiting.get(key)
    decided = decision is not None and decision.attempt >= entry.head.attempt
    return placement is not None and (decided or (waiting is not None and waiting.head == entry.head))


async def follow_workspaces(deps: Controller, workspaces: View[Workspace], tasks: asyncio.TaskGroup) -> None:
    """Watch every workspace that discovery found. A change in one (its labels, its RBAC) may help those that wait."""
    async for _ in workspaces.changes():
        deps.reconciler.note_world()
        deps.watches.set_workspaces({entry.value.path for entry in workspaces.entries.values()}, tasks)


async def follow_inventory(deps: Controller) -> None:
    """Any change of the inventory may help those that wait."""
    async for _ in deps.reconciler.inventory.changes():
        deps.reconciler.note_world()


async def follow_policies(deps: Controller) -> None:
    """A policy that changed has all placements below it looked at."""
    async for keys in deps.reconciler.policies.changes():
        changed = {PolicyRef.from_key(key).workspace for key in keys}
        for watch in deps.watches.all():
            if not changed.isdisjoint(core.above(watch.path)):
                for ref in watch.placements():
                    deps.queue.add(ref)


async def keep_policies(deps: Controller) -> None:
    """Keep the policies bucket as the hub has it."""
    table = deps.policies_table
    while True:
        path, name = await deps.changed_policies.get()
        try:
            watch = deps.watches.get(path)
            if watch is not None:
                await _keep_policy(table, watch, name)
        except Conflict:
            deps.changed_policies.add((path, name))
        except Exception:
            log.exception("a policy could not be kept", extra={"policy": f"{path}/{name}"})
            asyncio.get_running_loop().call_later(5.0, deps.changed_policies.add, (path, name))
        finally:
            deps.changed_policies.done((path, name))


async def _keep_policy(table: Table[PolicyEntry], watch: WorkspaceWatch, name: str) -> None:
    key, policy = PolicyRef(workspace=watch.path, name=name).key, watch.policy(name)
    known = await table.get(key)
    if policy is None:
        # A copy that is cut off from the hub must not take away what another has just seen: the hub itself is asked.
        if known is not None and await watch.policy_is_gone(name):
            await table.delete(key, known.revision)
    elif known is None or known.value != policy:
        await table.update(key, policy, known.revision if known else 0)

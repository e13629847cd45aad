"""The sweep: looks for what no event tells of, by caches alone."""

import contextlib

import msgspec

from services.controller.controller import Controller
from services.controller.core.digest import UNFOLLOWED
from services.controller.core.steps import Place, acts, is_move, next_step
from services.controller.workspace import WorkspaceWatch
from shared.broker.store import Conflict
from shared.broker.table import Entry
from shared.model.refs import PlacementRef
from shared.model.request import HeadEntry


async def sweep(deps: Controller) -> None:
    """Have every placement looked at whose next step is due, though nothing happened: waiting that ended, targets lost
    for too long, requests without an answer, turns that were lost with a worker or the bus.
    """
    await _sweep_waiting(deps)
    swept = {key for watch in deps.watches.all() if watch.synced for key in _sweep_placements(deps, watch)}
    for key, head in list(deps.observer.heads.entries.items()):
        if head.value.deleted and deps.observer.clock() - head.value.requested_at > deps.settings.forget_heads_seconds:
            await deps.reconciler.heads.delete(key, head.revision)
        elif key not in swept:
            await _sweep_head(deps, key, head)
    _sweep_policies(deps)


async def _sweep_waiting(deps: Controller) -> None:
    for key in list(deps.observer.waiting.entries):
        known = deps.observer.heads.get(key)
        if known is None or known.deleted:
            await deps.reconciler.waiting.delete(key)


def _sweep_placements(deps: Controller, watch: WorkspaceWatch) -> list[str]:
    """Look at all placements of a workspace; their keys."""
    keys, moves, rounds = [], deps.observer.moves.left(watch.path), deps.reconciler.rounds.left(watch.path)
    for ref, placement in watch.placements():
        key = ref.key
        keys.append(key)
        seen = deps.observer.observe(watch, ref, placement, deps.observer.heads.get(key), key=key)
        step = next_step(seen)
        if isinstance(step, Place):  # more than may move, or have a round, now need not be looked at now
            moves, rounds = moves - is_move(step.cause), rounds - 1
            if moves < 0 or rounds < 0:
                continue
        if acts(step):
            deps.queue.add(ref)
    return keys


async def _sweep_head(deps: Controller, key: str, head: Entry[HeadEntry]) -> None:
    """Look at a placement of which there is a head, and nothing in the cache."""
    ref = PlacementRef.from_key(key)
    watch = deps.watches.get(ref.workspace)
    if watch is None:
        await _unfollow(deps, key, head)
    elif watch.synced and acts(next_step(deps.observer.observe(watch, ref, None, head.value, key=key))):
        deps.queue.add(ref)


async def _unfollow(deps: Controller, key: str, head: Entry[HeadEntry]) -> None:
    """Note of a placement that its workspace has left the tree."""
    if head.value.deleted or head.value.digest == UNFOLLOWED:
        return
    if deps.watches.all():  # none at all: the tree is not read yet
        with contextlib.suppress(Conflict):
            marked = msgspec.structs.replace(head.value, digest=UNFOLLOWED)
            await deps.reconciler.heads.update(key, marked, head.revision)


def _sweep_policies(deps: Controller) -> None:
    """Have policies looked at that the bucket has and their workspace does not, and the other way round."""
    there = {(each.value.workspace, each.value.name) for each in deps.reconciler.policies.entries.values()}
    for each in deps.watches.all():
        for name in each.policy_names() if each.synced else ():
            if (each.path, name) not in there:
                deps.changed_policies.add((each.path, name))
    for policy in list(deps.reconciler.policies.entries.values()):
        path, name = policy.value.workspace, policy.value.name
        watch = deps.watches.get(path)
        if watch is not None and watch.synced and watch.policy(name) is None:
            deps.changed_policies.add((path, name))

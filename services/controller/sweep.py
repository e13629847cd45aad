"""The sweep: looks for what no event tells of, by caches alone."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from services.controller.controller import Controller
from services.controller.core.digest import UNFOLLOWED
from services.controller.core.steps import Place, acts, is_move, next_step
from services.controller.core.waking import Wake, wake
from services.controller.workspace import WorkspaceWatch
from shared.aio.workqueue import WorkQueue
from shared.broker.store import Conflict
from shared.broker.table import Entry
from shared.model.refs import PlacementRef
from shared.model.request import HeadEntry

AT_ONCE = 256
"""Placements that are looked at in one go; others have their turn then."""
UNFOLLOWED_SECONDS = 30.0
"""So often it is asked whether a workspace is gone that is not followed, and of which something is in force."""


async def sweep(deps: Controller) -> None:
    """Have every placement looked at whose next step is due, though nothing happened: waiting that ended, targets lost
    for too long, requests without an answer, turns that were lost with a worker or the bus.
    """
    now, world, turns = deps.observer.clock(), deps.observer.world_changed_at, _Turns(deps)
    due = deps.agenda.due(now, world_changed=world > deps.swept_world)
    deps.swept_world = world
    for number, ref in enumerate(due):
        if ref not in deps.queue:  # else it is being looked at anyway, and stays due until the sweep that comes after
            await _sweep_one(deps, ref, turns)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    _sweep_published(deps, now)


class _Turns:
    """How many placements of each workspace may move, or have a round, in one sweep: more need not be looked at now."""

    def __init__(self, deps: Controller) -> None:
        self._deps = deps
        self._moves: dict[str, float] = {}
        self._rounds: dict[str, float] = {}

    def take(self, workspace: str, step: Place) -> bool:
        moves = self._moves.setdefault(workspace, self._deps.observer.moves.left(workspace))
        rounds = self._rounds.setdefault(workspace, self._deps.reconciler.rounds.left(workspace))
        counts = is_move(step.cause) and not self._deps.observer.moves.at_once(step.leaving)
        self._moves[workspace], self._rounds[workspace] = moves - counts, rounds - 1
        return self._moves[workspace] >= 0 and self._rounds[workspace] >= 0


async def _sweep_one(deps: Controller, ref: PlacementRef, turns: _Turns) -> None:
    """Look at one placement, as far as the caches have it and its workspace is read."""
    key, watch, now = ref.key, deps.watches.get(ref.workspace), deps.observer.clock()
    head = deps.observer.heads.entries.get(key)
    if deps.observer.waiting.get(key) is not None and (head is None or head.value.deleted):
        await deps.reconciler.waiting.delete(key)
    if head is not None and head.value.deleted and now - head.value.requested_at > deps.settings.forget_heads_seconds:
        await deps.reconciler.heads.delete(key, head.revision)
        deps.agenda.forget(ref)
    elif watch is None:
        await _unfollow(deps, ref, head)
    elif watch.synced:
        _look(deps, watch, ref, head.value if head is not None else None, turns)


def _look(deps: Controller, watch: WorkspaceWatch, ref: PlacementRef, head: HeadEntry | None, turns: _Turns) -> None:
    placement, now = watch.placement(ref), deps.observer.clock()
    if placement is None and head is None:
        deps.agenda.forget(ref)
        return
    seen = deps.observer.observe(watch, ref, placement, head, key=ref.key)
    step = next_step(seen)
    deps.agenda.put(ref, Wake(now) if acts(step) else wake(seen), now, seen.targets)
    if acts(step) and not (isinstance(step, Place) and not turns.take(ref.workspace, step)):
        deps.queue.add(ref)


async def _unfollow(deps: Controller, ref: PlacementRef, head: Entry[HeadEntry] | None) -> None:
    """Note of a placement that its workspace has left the tree."""
    if not deps.watches.all():
        return  # the tree is not read yet
    if head is not None and not head.value.deleted and head.value.digest != UNFOLLOWED:
        with contextlib.suppress(Conflict):
            marked = msgspec.structs.replace(head.value, digest=UNFOLLOWED)
            await deps.reconciler.heads.update(ref.key, marked, head.revision)
    deps.agenda.put(ref, Wake(math.inf), deps.observer.clock(), ())


class _Published(Protocol):
    @property
    def workspace(self) -> str: ...
    @property
    def name(self) -> str: ...


def _sweep_published(deps: Controller, now: float) -> None:
    """Have policies, kinds and quotas looked at that a bucket has and their workspace does not, and the other way
    round; and policies from which an exemption has ended."""
    watches, published = deps.watches.all(), deps.reconciler
    if not watches:
        return  # the tree is not read yet
    for each in watches:
        each.policies.expire()
    looked = {each.path for each in watches if each.synced}
    if now >= deps.asked_unfollowed + UNFOLLOWED_SECONDS:
        deps.asked_unfollowed = now
        stored: tuple[_Published, ...] = (
            *published.policies.values(),
            *published.kinds.values(),
            *published.quotas.values(),
        )
        looked |= {each.workspace for each in stored} - {each.path for each in watches}

    def compare(
        queue: WorkQueue[tuple[str, str]],
        published: Iterable[_Published],
        names: Callable[[WorkspaceWatch], Iterable[str]],
    ) -> None:
        here = {(watch.path, name) for watch in watches if watch.synced for name in names(watch)}
        there = {(each.workspace, each.name) for each in published if each.workspace in looked}
        for each in here ^ there:
            queue.add(each)

    compare(deps.changed_policies, published.policies.values(), lambda watch: watch.policies.names())
    compare(deps.changed_kinds, published.kinds.values(), lambda watch: [each.name for each in watch.declared()])
    compare(deps.changed_quotas, published.quotas.values(), lambda watch: watch.quotas.in_force())

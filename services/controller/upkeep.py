"""Upkeep of the controller's picture: the views that it follows, and the policies that it publishes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from services.controller.agenda import Agenda
from services.controller.controller import Controller
from services.controller.core.digest import above
from services.controller.core.eviction import leaving_depends_on
from services.controller.workspace import WorkspaceWatch
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef, PolicyRef, TargetRef
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Workspace

log = logging.getLogger("moorage.controller")

Ref = TypeVar("Ref")


def named(parse: Callable[[str], Ref], keys: Iterable[str]) -> Iterator[Ref]:
    """Whom keys stand for. A key of another shape, as somebody may have written into a bucket, stands for nobody."""
    for key in keys:
        with contextlib.suppress(ValueError):
            yield parse(key)


async def follow_workspaces(deps: Controller, workspaces: View[Workspace], tasks: asyncio.TaskGroup) -> None:
    """Watch every workspace that discovery found. A change in one (its labels, its RBAC) may help those that wait."""
    async for _ in workspaces.changes():
        deps.observer.note_world()
        paths = {entry.value.path for entry in workspaces.entries.values()}
        if any(watch.path not in paths for watch in deps.watches.all()):
            deps.agenda.touch_all()
        deps.watches.set_workspaces(paths, tasks)


async def follow_inventory(deps: Controller) -> None:
    """A change of the inventory may help those that wait, and may make those leave that are on the target."""
    known: dict[str, object] = {}
    async for keys in deps.observer.inventory.changes():
        deps.observer.note_world()
        for ref in named(TargetRef.from_key, keys):
            target, before = deps.observer.inventory.get(ref.key), known.pop(ref.key, None)
            if target is not None:
                known[ref.key] = leaving_depends_on(target)
            if known.get(ref.key) != before:
                deps.agenda.touch_on(ref.id)


async def touch_by_key(agenda: Agenda, view: View[HeadEntry] | View[Waiting]) -> None:
    """Placements of which a bucket has another entry are looked at."""
    async for keys in view.changes():
        for ref in named(PlacementRef.from_key, keys):
            agenda.touch(ref)


async def follow_policies(deps: Controller) -> None:
    """A policy that changed has all placements below it looked at."""
    async for keys in deps.reconciler.policies.changes():
        changed = {ref.workspace for ref in named(PolicyRef.from_key, keys)}
        for watch in deps.watches.all():
            if not changed.isdisjoint(above(watch.path)):
                for ref, _ in watch.placements():
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

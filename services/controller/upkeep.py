"""Upkeep of the controller's picture: the views that it follows, and the policies that it publishes."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from services.controller.agenda import Agenda
from services.controller.controller import Controller
from services.controller.core.eviction import leaving_depends_on
from services.controller.quotas import QuotaStatuses
from services.controller.workspace import WorkspaceWatch
from shared.aio.workqueue import WorkQueue
from shared.broker.store import Conflict
from shared.broker.table import Table, View
from shared.hub.holding import goes_by_workspaces
from shared.model.quota import WorkspaceQuota
from shared.model.refs import KindRef, PlacementRef, PolicyRef, QuotaRef, TargetRef, above
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Workspace

log = logging.getLogger("moorage.controller")

Ref = TypeVar("Ref")
T = TypeVar("T")


def named(parse: Callable[[str], Ref], keys: Iterable[str]) -> Iterator[Ref]:
    """Whom keys stand for. A key of another shape, as somebody may have written into a bucket, stands for nobody."""
    for key in keys:
        with contextlib.suppress(ValueError):
            yield parse(key)


async def follow_workspaces(deps: Controller, workspaces: View[Workspace], tasks: asyncio.TaskGroup) -> None:
    """Watch every workspace that discovery found. A change in one (its labels, its RBAC) may help those that wait."""
    labelled: dict[str, dict[str, str]] = {}
    async for _ in workspaces.changes():
        deps.observer.note_world()
        before, labelled = labelled, {entry.value.path: entry.value.labels for entry in workspaces.entries.values()}
        paths = labelled.keys()
        _relabelled(deps, {path for path in before.keys() & paths if before[path] != labelled[path]})
        if any(watch.path not in paths for watch in deps.watches.all()):
            deps.agenda.touch_all()
        deps.watches.set_workspaces(set(paths), tasks)


def _relabelled(deps: Controller, changed: set[str]) -> None:
    """Look at the placements in workspaces with other labels, and below: other policies may hold for them."""
    if changed and goes_by_workspaces(entry.value for entry in deps.reconciler.policies.entries.values()):
        for watch in deps.watches.all():
            if not changed.isdisjoint(above(watch.path)):
                for ref, _ in watch.placements():
                    deps.queue.add(ref)


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


async def follow_kinds(deps: Controller) -> None:
    """A kind that is declared otherwise has all placements looked at in whose workspaces it holds."""
    kinds = deps.reconciler.kinds
    async for _ in kinds.changes():
        for watch in deps.watches.know(each.value for each in kinds.entries.values()):
            for ref, _ in watch.placements():
                deps.queue.add(ref)


async def follow_quotas(deps: Controller, quotas: View[WorkspaceQuota], statuses: QuotaStatuses) -> None:
    """A quota that changed, or is gone, may help those that wait."""
    async for keys in quotas.changes():
        deps.observer.note_world()
        for ref in named(QuotaRef.from_key, keys):
            statuses.note(ref.workspace, ref.name)


async def keep_policies(deps: Controller) -> None:
    """Keep the policies bucket as the hub has it."""

    async def keep(watch: WorkspaceWatch, name: str) -> None:
        key = PolicyRef(workspace=watch.path, name=name).key
        await _keep(deps.policies_table, key, watch.policies.get(name), lambda: watch.policy_is_gone(name))

    await _keep_all(deps, deps.changed_policies, deps.policies_table, PolicyRef, keep)


async def keep_kinds(deps: Controller) -> None:
    """Keep the kinds bucket as the hub has it."""

    async def keep(watch: WorkspaceWatch, name: str) -> None:
        key = KindRef(workspace=watch.path, name=name).key
        await _keep(deps.kinds_table, key, watch.declared_kind(name), lambda: watch.kind_is_gone(name))

    await _keep_all(deps, deps.changed_kinds, deps.kinds_table, KindRef, keep)


async def keep_quotas(deps: Controller) -> None:
    """Keep the quotas bucket as the hub has it."""

    async def keep(watch: WorkspaceWatch, name: str) -> None:
        key = QuotaRef(workspace=watch.path, name=name).key
        await _keep(deps.quotas_table, key, watch.quotas.in_force().get(name), lambda: watch.quota_is_void(name))

    await _keep_all(deps, deps.changed_quotas, deps.quotas_table, QuotaRef, keep)


async def _keep_all(
    deps: Controller,
    changed: WorkQueue[tuple[str, str]],
    table: Table[T],
    ref: type[PolicyRef] | type[KindRef] | type[QuotaRef],
    keep: Callable[[WorkspaceWatch, str], Awaitable[None]],
) -> None:
    while True:
        path, name = await changed.get()
        try:
            watch = deps.watches.get(path)
            if watch is not None:
                await keep(watch, name)
            else:
                key = ref(workspace=path, name=name).key
                await _keep(table, key, None, functools.partial(deps.left, path))
        except Conflict:
            changed.add((path, name))
        except Exception:
            log.exception("what is in force is not published", extra={"path": path, "named": name})
            asyncio.get_running_loop().call_later(5.0, changed.add, (path, name))
        finally:
            changed.done((path, name))


async def _keep(table: Table[T], key: str, here: T | None, is_gone: Callable[[], Awaitable[bool]]) -> None:
    known = await table.get(key)
    if here is None:
        # A copy that is cut off from the hub must not take away what another has just seen: the hub itself is asked.
        if known is not None and await is_gone():
            await table.delete(key, known.revision)
    elif known is None or known.value != here:
        await table.update(key, here, known.revision if known else 0)

"""Walks the tree of workspaces and follows it: each workspace's children by an informer of its own.

The walk is the informers' first lists, a bounded number at once, breadth first since those that wait are served in
order. A root's entry is written only after the walk below it was complete, so that who waits for it has all workspaces
but those that refuse us.
A workspace that is being deleted is followed for as long as it has content: somebody has to take the finalizers off.
A mount has no logical cluster behind it and is not followed. Nothing below a root is a system workspace; who wants one
names it as a root.
Where our kinds come by an export, workspaces count that have bound it, and those on the way to them: what is beside is
neither looked at nor stored, so that it costs nothing.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from services.discovery.projection import Projection
from services.discovery.settings import DiscoverySettings
from shared.broker.tokens import join
from shared.hub.export import Export
from shared.hub.hub import HUB_WORKSPACE, Hub
from shared.hub.resources import WORKSPACES
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.urls import workspace_url
from shared.model.refs import above
from shared.model.target import Workspace

log = logging.getLogger("moorage.discovery")

SWEEP_PAUSE = 1.0  # seconds between two sweeps at least
_LOGICAL_CLUSTER = re.compile(r"/clusters/([a-z0-9:-]+)/?$")


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct):
    url: str = msgspec.field(default="", name="URL")
    mount: dict[str, object] | None = None


class _Status(msgspec.Struct):
    phase: str = ""


class ChildWorkspace(msgspec.Struct):
    """The few fields of a kcp Workspace that matter here."""

    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def mounted(self) -> bool:
        """True if it is no workspace of ours, but a mount."""
        return self.spec.mount is not None

    @property
    def leaving(self) -> bool:
        """True if it is on its way out: what is in it is deleted, which takes as long as finalizers do."""
        return self.status.phase in {"Deleting", "Terminating"} or self.metadata.deletion_timestamp is not None

    @property
    def ready(self) -> bool:
        """True if it has content that can be read."""
        return (self.status.phase == "Ready" or self.leaving) and not self.mounted

    @property
    def cluster(self) -> str:
        """The logical cluster that its URL names. The host is not taken over: our token goes to the hub alone."""
        found = _LOGICAL_CLUSTER.search(urlsplit(self.spec.url).path)
        return found.group(1) if found else ""


def roots_of(setting: str) -> tuple[str, ...]:
    """The workspaces at which the walk begins. Raises ValueError for what is no workspace path, and for none at all."""
    roots = paths_of(setting)
    if not roots:
        raise ValueError("roots names no workspace")
    return roots


def paths_of(setting: str) -> tuple[str, ...]:
    """The workspaces that a setting lists. Raises ValueError for what is no workspace path."""
    paths = tuple(dict.fromkeys(path.strip() for path in setting.split(",") if path.strip()))
    for path in paths:
        workspace_url("", path)
    return paths


class Visitor(Protocol):
    """Work that is done in every workspace."""

    async def follow(self, workspace: str, client: Client) -> None:
        """Work in a workspace until cancelled."""
        ...

    def forget(self, workspace: str) -> None:
        """The workspace is gone."""
        ...

    def sweep(self, gone: Callable[[str], bool]) -> None:
        """Put right what is stored, given which workspaces are gone for certain."""
        ...


class Tree:
    """All workspaces below the roots."""

    def __init__(
        self, hub: Hub, settings: DiscoverySettings, projection: Projection[Workspace], visitor: Visitor
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._projection = projection
        self._visitor = visitor
        self._roots = roots_of(settings.roots) if hub.kind == "kcp" else (HUB_WORKSPACE,)
        self._room = asyncio.Semaphore(settings.walk_concurrency)
        self._known: dict[str, Workspace] = {}
        self._unread: set[str] = set()  # workspaces whose children are not known yet, on the first walk
        self._branches: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Informer[ChildWorkspace]] = {}
        self._emptied: set[str] = set()  # workspaces that are leaving and serve nothing any more
        self._export = hub.export
        self._using: set[str] = set()  # workspaces that have bound the export, and
        self._towards: set[str] = set()  # those above them
        self._groups: dict[str, asyncio.TaskGroup] = {}  # what ends with a workspace, by its path
        self._bound = asyncio.Event()  # is set, and another one is there, when some have bound it or do no more
        self._sweep_due = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for root in self._roots:
                self._enter(Workspace(path=root, root=True), self._hub.at(root), 0, tasks)
            if self._export is not None:
                tasks.create_task(self._follow_consumers(self._export))
            while True:
                await self._leave_emptied()
                self.sweep()
                await asyncio.sleep(SWEEP_PAUSE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.rewalk_interval_seconds):
                        await self._sweep_due.wait()
                self._sweep_due.clear()

    def sweep(self) -> None:
        """Compare what is stored with all that is known."""
        for workspace in sorted(self._known.values(), key=lambda each: each.root):  # the root says that all are there
            self._store(workspace)
        for key, entry in self._projection.view.entries.items():
            if entry.value.path not in self._known and self.gone(entry.value.path):
                self._projection.want(key, None)
        self._visitor.sweep(self.gone)

    async def mend(self) -> None:
        """Write everything again at once when the bucket lost entries, until cancelled."""
        async for _ in self._projection.view.changes():
            if self._projection.view.incomplete:
                self._sweep_due.set()

    def gone(self, path: str) -> bool:
        """True if there is certainly no such workspace any more. What could not be read is not gone."""
        if path in self._known:
            return False
        if self._heard_of_all() and not self._counts(path):
            return True
        roots = [root for root in self._roots if path == root or path.startswith(f"{root}:")]
        return not any(self._maybe(path, root) for root in roots)

    def _maybe(self, path: str, root: str) -> bool:
        """True if each step from the root down to the path is there, or was not looked at."""
        if path == root:
            return True
        steps = path[len(root) + 1 :].split(":")
        if len(steps) > self._settings.max_depth:
            return False
        parent = root
        for step in steps:
            children = self._children.get(parent)
            parent = f"{parent}:{step}"
            if children is not None and children.synced.is_set():
                child = children.objects.get(("", step))
                if child is None or child.mounted or parent in self._emptied:
                    return False
        return True

    def _store(self, workspace: Workspace) -> None:
        """Have it stored as the walk found it. The state of its RBAC is not the walk's, and stays."""

        def found(stored: Workspace | None) -> Workspace:
            return msgspec.structs.replace(workspace, rbac=stored.rbac if stored is not None else "")

        if not (workspace.root and self._unread):
            key = join(workspace.path)
            self._projection.want(key, found(self._projection.latest(key)), found)

    def _enter(self, workspace: Workspace, client: Client, depth: int, tasks: asyncio.TaskGroup) -> None:
        """Begin to follow a workspace, or take over what is new of one that is followed."""
        path = workspace.path
        if path in self._branches and self._known[path].root:
            return  # named as a root as well: it is that first of all
        inner = self._hub.kind == "kcp" and depth < self._settings.max_depth
        if path not in self._branches:
            if inner:
                self._unread.add(path)
            work = self._branch(path, client, depth, inner)
            self._branches[path] = tasks.create_task(work, name=f"workspace {path}")
        if self._known.get(path) != workspace:
            self._known[path] = workspace
            self._store(workspace)

    def _read(self, path: str) -> None:
        """The children of a workspace are known, or we may not know them."""
        self._unread.discard(path)
        if not self._unread:
            for root in self._roots:
                if root in self._known:
                    self._store(self._known[root])

    async def _leave_emptied(self) -> None:
        """Stop following workspaces that are being deleted and whose content answers 403 or 404 by now."""
        for path in [path for path in self._known if self._leaving(path) and self._serves_nothing(path)]:
            if path in self._known:  # not below another one
                self._emptied.add(path)
                await self._leave(path)

    def _leaving(self, path: str) -> bool:
        parent, _, name = path.rpartition(":")
        siblings = self._children.get(parent)
        child = siblings.objects.get(("", name)) if siblings else None
        return child is not None and child.leaving

    def _serves_nothing(self, path: str) -> bool:
        """True if it refuses what it has answered before. One that always refused us may still have Placements."""
        children = self._children.get(path)
        error = children.error if children and children.synced.is_set() else None
        return isinstance(error, ApiError) and (error.forbidden or error.not_found)

    async def _leave(self, path: str) -> None:
        """Stop following a workspace and all below it, and drop what is stored of them."""
        below = [known for known in self._known if known == path or known.startswith(f"{path}:")]
        ending = [task for known in below if (task := self._branches.pop(known, None)) is not None]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        for known in below:
            self._known.pop(known, None)
            self._read(known)
            self._projection.want(join(known), None)
            self._visitor.forget(known)

    async def _branch(self, path: str, client: Client, depth: int, inner: bool) -> None:
        """Everything in one workspace. What is below it ends with it."""
        try:
            async with asyncio.TaskGroup() as here:
                here.create_task(self._visitor.follow(path, client))
                if inner:
                    self._groups[path] = here
                    here.create_task(self._follow_children(path, client, depth, here))
        finally:
            self._groups.pop(path, None)

    def _counts(self, path: str) -> bool:
        """Whether a workspace has bound the export, or is on the way to one that has."""
        return self._export is None or path in self._using or path in self._towards

    def _heard_of_all(self) -> bool:
        """Whether it is known here who has bound the export, as the export itself knows it by now: after a start it
        knows that first, and what is not known here yet would count as unbound."""
        return self._export is not None and self._export.whole and self._using == self._export.consumers.keys()

    async def _follow_consumers(self, export: Export) -> None:
        """Take up workspaces as they bind the export, and leave those that do no more."""
        async for paths in export.changes():
            self._using = set(export.consumers)
            self._towards = {each for path in self._using for each in above(path) if each != path}
            for step in sorted({each for path in paths for each in above(path)}, key=lambda each: each.count(":")):
                parent, _, name = step.rpartition(":")
                siblings, group = self._children.get(parent), self._groups.get(parent)
                child = siblings.objects.get(("", name)) if siblings is not None else None
                if child is not None and group is not None:
                    await self._take(step, child, self._depth(step), group)
            news, self._bound = self._bound, asyncio.Event()
            news.set()
            self._sweep_due.set()

    def _depth(self, path: str) -> int:
        return min(path[len(root) :].count(":") for root in self._roots if path.startswith(f"{root}:"))

    async def _some_below(self, path: str, export: Export) -> None:
        """Until a workspace below has bound the export."""
        await export.await_whole(None)
        while path not in self._towards:
            if self._heard_of_all():
                self._read(path)
            await self._bound.wait()

    async def _follow_children(self, path: str, client: Client, depth: int, tasks: asyncio.TaskGroup) -> None:
        if self._export is not None:
            await self._some_below(path, self._export)
        trouble = _Trouble()

        def note(error: KubeError) -> None:
            trouble.note(error)
            if trouble.refused and path not in self._roots:
                self._read(path)

        informer = Informer(
            client,
            WORKSPACES,
            decode=msgspec.json.Decoder(ChildWorkspace).decode,
            refused=self._settings.absent_retry_seconds,
            on_error=note,
        )
        self._children[path] = informer
        try:
            async with AsyncExitStack() as stack:
                async with self._room:
                    await stack.enter_async_context(informer)
                    await _first_list(informer, trouble, self._settings.workspace_timeout_seconds)
                if not informer.synced.is_set():
                    log.warning("workspace not read", extra={"workspace": path, "error": str(trouble.error)})
                async for change in informer.events():
                    if change.kind == "Synced":
                        self._read(path)
                        self._sweep_due.set()
                    else:
                        await self._take(f"{path}:{change.key[1]}", change.object, depth + 1, tasks)
        finally:
            del self._children[path]

    async def _take(self, path: str, child: ChildWorkspace | None, depth: int, tasks: asyncio.TaskGroup) -> None:
        if child is None or child.mounted or not self._counts(path):
            self._emptied.discard(path)
            await self._leave(path)
        elif child.ready and not (child.leaving and path in self._emptied):
            self._emptied.discard(path)
            try:
                client = self._hub.at(path, child.cluster)
            except ValueError as error:
                log.warning("workspace left out", extra={"workspace": path, "error": str(error)})
            else:
                self._enter(Workspace(path=path, labels=child.metadata.labels or {}), client, depth, tasks)


class _Trouble:
    """Failures of a first list: one may be an index that lags, the second counts."""

    def __init__(self) -> None:
        self.error: KubeError | None = None
        self.counts = asyncio.Event()

    def note(self, error: KubeError) -> None:
        if self.error is not None:
            self.counts.set()
        self.error = error

    @property
    def refused(self) -> bool:
        """True if the answer was no, and not for the first time. Anything else may still become a yes."""
        return (
            self.counts.is_set() and isinstance(self.error, ApiError) and (self.error.forbidden or self.error.not_found)
        )


async def _first_list(informer: Informer[ChildWorkspace], trouble: _Trouble, timeout: float) -> None:
    """Wait until the children are known, cannot be read, or `timeout` seconds have passed."""
    waiting = [asyncio.create_task(informer.synced.wait()), asyncio.create_task(trouble.counts.wait())]
    try:
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()

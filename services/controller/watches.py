"""The watches of all workspaces, as they come and go."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterable

from services.controller.workspace import Notify, WorkspaceWatch
from shared.hub.access import Access
from shared.hub.declared import kinds_of
from shared.hub.hub import Hub
from shared.model.declared import DeclaredKind


class Watches:
    """The watches of all workspaces, as they come and go."""

    def __init__(
        self,
        hub: Hub,
        access: Access,
        notify: Notify,
        touched: Notify,
        policy_changed: Callable[[str, str], None],
        kind_changed: Callable[[str, str], None],
        override_changed: Callable[[str, str], None],
        freed: Callable[[], None],
        clock: Callable[[], float] = time.time,
        quota_changed: Callable[[str, str], None] = lambda *_: None,
        most_quotas: int = 0,
    ) -> None:
        self._hub = hub
        self._access = access
        self._notify = notify
        self._touched = touched
        self._policy_changed = policy_changed
        self._kind_changed = kind_changed
        self._override_changed = override_changed
        self._quota_changed = quota_changed
        self._most_quotas = most_quotas
        self._declared: tuple[DeclaredKind, ...] = ()
        self._freed = freed
        self._clock = clock
        self._running: dict[str, tuple[WorkspaceWatch, asyncio.Task[None]]] = {}

    def get(self, workspace: str) -> WorkspaceWatch | None:
        found = self._running.get(workspace)
        return found[0] if found else None

    def all(self) -> list[WorkspaceWatch]:
        return [watch for watch, _ in self._running.values()]

    def know(self, declared: Iterable[DeclaredKind]) -> list[WorkspaceWatch]:
        """Have all workspaces know what is declared; those for which that is something else than before."""
        self._declared = tuple(declared)
        changed = []
        for watch in self.all():
            kinds = kinds_of(watch.path, self._declared)
            if kinds != watch.kinds:
                watch.know(kinds)
                changed.append(watch)
        return changed

    def set_workspaces(self, paths: set[str], tasks: asyncio.TaskGroup) -> None:
        """Watch exactly these workspaces."""
        for path in self._running.keys() - paths:
            _, task = self._running.pop(path)
            task.cancel()
        for path in paths - self._running.keys():
            watch = WorkspaceWatch(
                path,
                self._hub.at(path),
                self._access,
                self._notify,
                self._touched,
                functools.partial(self._policy_changed, path),
                functools.partial(self._kind_changed, path),
                functools.partial(self._override_changed, path),
                self._freed,
                self._clock,
                functools.partial(self._quota_changed, path),
                self._most_quotas,
            )
            watch.know(kinds_of(path, self._declared))
            self._running[path] = (watch, tasks.create_task(watch.run(), name=f"watch {path}"))

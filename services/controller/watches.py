"""The watches of all workspaces, as they come and go."""

import asyncio
import functools
from collections.abc import Callable

from services.controller.workspace import Notify, WorkspaceWatch
from shared.hub.hub import Hub


class Watches:
    """The watches of all workspaces, as they come and go."""

    def __init__(
        self,
        hub: Hub,
        notify: Notify,
        touched: Notify,
        policy_changed: Callable[[str, str], None],
        freed: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._notify = notify
        self._touched = touched
        self._policy_changed = policy_changed
        self._freed = freed
        self._running: dict[str, tuple[WorkspaceWatch, asyncio.Task[None]]] = {}

    def get(self, workspace: str) -> WorkspaceWatch | None:
        found = self._running.get(workspace)
        return found[0] if found else None

    def all(self) -> list[WorkspaceWatch]:
        return [watch for watch, _ in self._running.values()]

    def set_workspaces(self, paths: set[str], tasks: asyncio.TaskGroup) -> None:
        """Watch exactly these workspaces."""
        for path in self._running.keys() - paths:
            _, task = self._running.pop(path)
            task.cancel()
        for path in paths - self._running.keys():
            changed = functools.partial(self._policy_changed, path)
            watch = WorkspaceWatch(path, self._hub.at(path), self._notify, self._touched, changed, self._freed)
            self._running[path] = (watch, tasks.create_task(watch.run(), name=f"watch {path}"))

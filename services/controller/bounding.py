"""The PlacementQuotas of one workspace, as they hold."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from services.controller.core.quotas import Void, judged
from shared.api import InvalidObject, PlacementQuota, decode_quota
from shared.hub.export import follow
from shared.hub.resources import QUOTAS
from shared.kube.client import Client
from shared.model.quota import WorkspaceQuota

EACH = 0.0001
"""Seconds of pause for each quota after they were looked at together: who writes many is served late."""


class QuotaWatch:
    """Follows the PlacementQuotas of a workspace, of which no more than `most` hold (0: however many).

    `changed` hears of each, by name, of which something is otherwise than before.
    """

    def __init__(self, path: str, client: Client, most: int, changed: Callable[[str], None]) -> None:
        self._path = path
        self._client = client
        self._most = most
        self._changed = changed
        self.objects = follow(client, QUOTAS, decode=decode_quota)
        self._judged: Mapping[str, WorkspaceQuota | Void] | None = None  # None: not known since one came or went
        self._in_force: Mapping[str, WorkspaceQuota] = {}
        self._news: set[str] = set()
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with self.objects, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._judge())
            async for change in self.objects.events():
                if change.kind != "Synced":
                    self._news.add(change.key[1])
                    self._some.set()

    async def _judge(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            changed, self._news, before = self._news, set(), self._judged or {}
            self._judged = None
            now = self.judged()
            for name in changed | {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}:
                self._changed(name)
            await asyncio.sleep(EACH * len(self.objects.objects))

    def get(self, name: str) -> PlacementQuota | None:
        return self.objects.objects.get(("", name))

    def judged(self) -> Mapping[str, WorkspaceQuota | Void]:
        """All of them by name: as each holds, or why it does not."""
        if self._judged is None:
            self._judged = judged(self._path, self.objects.objects.values(), self._most)
            self._in_force = _in_force(self._judged)
        return self._judged

    def in_force(self) -> Mapping[str, WorkspaceQuota]:
        """Those that hold, by name."""
        self.judged()
        return self._in_force

    async def is_void(self, name: str) -> bool:
        """True if a quota does not hold, by what is known here and by what the API server says now."""
        if not isinstance(self.judged().get(name), Void):
            return False
        found = []
        for each in (await self._client.list(QUOTAS)).items:
            with contextlib.suppress(InvalidObject):
                found.append(decode_quota(each))
        return name not in _in_force(judged(self._path, found, self._most))


def _in_force(known: Mapping[str, WorkspaceQuota | Void]) -> Mapping[str, WorkspaceQuota]:
    return {name: each for name, each in known.items() if isinstance(each, WorkspaceQuota)}

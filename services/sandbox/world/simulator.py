"""Makes workloads of target clusters become ready, as controllers and kubelets would. Follows watches, never polls."""

import asyncio
import contextlib
import logging
from typing import NamedTuple, Self

from services.sandbox.errors import ApiError
from services.sandbox.plane import ControlPlane
from services.sandbox.state.clusters import Cluster
from services.sandbox.state.store import Key, WatchClosed
from services.sandbox.world.workloads import STATUS, Need, Outcome, need, outcomes, status_of

logger = logging.getLogger(__name__)
_IDLE_SECONDS = 3600.0


class _Seen(NamedTuple):
    """An object at a version, and the outcome that its status tells; none before that was looked at."""

    version: int
    need: Need
    outcome: Outcome | None


class Simulator:
    """One task per target, also for targets that are added later. `delay` is in seconds."""

    def __init__(self, plane: ControlPlane, delay: float = 0.3) -> None:
        self._plane = plane
        self._delay = delay
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._plane.on_target = self._start
        for cluster in self._plane.clusters:
            if cluster.is_target:
                self._start(cluster)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._plane.on_target = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, cluster: Cluster) -> None:
        task = asyncio.create_task(self._follow(cluster), name=f"simulator {cluster.name}")
        self._tasks.add(task)

    async def _follow(self, cluster: Cluster) -> None:
        store = self._plane.store
        resources = [found.id for found in cluster.resources() if found.kind in STATUS or found.kind == "Node"]
        seen: dict[Key, _Seen] = {}
        while True:
            watcher = store.watch(cluster.name, resources)
            with contextlib.suppress(WatchClosed):  # the cluster was cut off, or we are slow: look at everything again
                while True:
                    await asyncio.sleep(self._delay)
                    await watcher.next(0)
                    self._settle(cluster, seen)
                    await watcher.next(_IDLE_SECONDS)
            store.unwatch(watcher)

    def _settle(self, cluster: Cluster, seen: dict[Key, _Seen]) -> None:
        """Write every status that is not what it should be. Only what changed, or fares otherwise now, is looked at."""
        store = self._plane.store
        kinds = {found.kind: found for found in cluster.resources() if found.kind in STATUS}
        entries = {each.key: each for found in kinds.values() for each in store.entries(cluster.name, found.id)}
        for key in seen.keys() - entries.keys():
            del seen[key]
        for key, entry in entries.items():
            if key not in seen or seen[key].version != entry.version:
                seen[key] = _Seen(entry.version, need(entry.document()), None)
        nodes = [entry.document() for entry in store.entries(cluster.name, "nodes")]
        write = self._plane.system_write("status")
        for key, outcome in outcomes({key: each.need for key, each in seen.items()}, nodes).items():
            if seen[key].outcome == outcome:
                continue
            item, version = entries[key].document(), entries[key].version
            wanted = {**item, "status": status_of(item, outcome, write.now)}
            if wanted != item:
                kind = kinds[item["kind"]]
                at = cluster.address(kind.group, kind.plural, "", key.namespace, key.name)
                try:
                    version = self._plane.registry.update(at, wanted, write).version
                except ApiError as error:
                    logger.warning("%s: %s %s: %s", cluster.name, kind.kind, key.name, error.message)
                    continue
            seen[key] = _Seen(version, seen[key].need, outcome)

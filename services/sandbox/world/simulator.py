"""Makes workloads of target clusters become ready, as controllers and kubelets would. Follows watches, never polls."""

import asyncio
import contextlib
import logging
from typing import Self

from services.sandbox.errors import ApiError
from services.sandbox.plane import ControlPlane
from services.sandbox.state.clusters import Cluster
from services.sandbox.state.store import WatchClosed
from services.sandbox.world.workloads import STATUS, simulate

logger = logging.getLogger(__name__)
_IDLE_SECONDS = 3600.0


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
        while True:
            watcher = store.watch(cluster.name, resources)
            with contextlib.suppress(WatchClosed):  # the cluster was cut off, or we are slow: look at everything again
                while True:
                    await asyncio.sleep(self._delay)
                    await watcher.next(0)
                    self._settle(cluster)
                    await watcher.next(_IDLE_SECONDS)
            store.unwatch(watcher)

    def _settle(self, cluster: Cluster) -> None:
        """Write every status that is not what it should be."""
        store = self._plane.store
        kinds = {found.kind: found for found in cluster.resources() if found.kind in STATUS}
        entries = (entry for found in kinds.values() for entry in store.entries(cluster.name, found.id))
        nodes = [entry.document() for entry in store.entries(cluster.name, "nodes")]
        write = self._plane.system_write("status")
        for item, status in simulate((entry.document() for entry in entries), nodes, write.now):
            if item.get("status") == status:
                continue
            kind, metadata = kinds[item["kind"]], item["metadata"]
            at = cluster.address(kind.group, kind.plural, "", metadata["namespace"], metadata["name"])
            try:
                self._plane.registry.update(at, {**item, "status": status}, write)
            except ApiError as error:
                logger.warning("%s: %s %s: %s", cluster.name, item["kind"], metadata["name"], error.message)

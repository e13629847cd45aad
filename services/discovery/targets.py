"""Follows the SyncTargets of each workspace: probes their clusters, keeps the inventory, writes their status."""

import asyncio
import contextlib
import functools
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.discovery import strays
from services.discovery.clusters import Clusters
from services.discovery.health import Health, Probe, Rules, observe, resume
from services.discovery.inventory import (
    ClusterFacts,
    Viewpoint,
    allocated_patch,
    status_of,
    target_of,
    turned_away,
    worth_writing,
)
from services.discovery.probing import Prober
from services.discovery.projection import Projection
from services.discovery.rbac import Rbac
from services.discovery.settings import DiscoverySettings
from shared.api import SyncTarget, SyncTargetStatus, decode_synctarget
from shared.hub.events import tell
from shared.hub.names import field_manager
from shared.hub.resources import SYNCTARGETS
from shared.hub.targets import TargetClients
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.model.refs import PlacementRef, TargetRef
from shared.model.target import Stray, Target
from shared.process import audit

log = logging.getLogger("moorage.discovery")

COMPONENT = "discovery"
FIELD_MANAGER = field_manager(COMPONENT)
FAULT = "causing a fault in discovery"


@dataclass
class Watched:
    """One SyncTarget that is looked at again and again."""

    workspace: str
    client: Client  # of the workspace
    found: SyncTarget
    health: Health
    nodes_due: float = 0.0
    apis_due: float = 0.0
    asked_for_all: bool = False  # the last look was for nodes and APIs as well
    suspects: frozenset[Stray] = frozenset()
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def read_anew(self) -> None:
        """Have all of it looked at now, whatever is due."""
        self.nodes_due = self.apis_due = 0.0
        self.changed.set()

    @property
    def key(self) -> str:
        return self.ref.key

    @property
    def ref(self) -> TargetRef:
        return TargetRef(workspace=self.workspace, name=self.found.metadata.name)


class Targets:
    """The SyncTargets of all followed workspaces."""

    def __init__(
        self,
        inventory: Projection[Target],
        clients: TargetClients,
        rbac: Rbac,
        settings: DiscoverySettings,
        clock: Callable[[], float],
        reserved: Callable[[str], Collection[PlacementRef] | None],
        mine: Callable[[str], bool],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`mine`: whether it is for this copy of the worker to look at a target, by its key."""
        self._inventory = inventory
        self._clients = clients
        self._rbac = rbac
        self._prober = Prober(clients, settings, clock, reserved)
        self._settings = settings
        self._clock = clock
        self._mine = mine
        self._chance = chance
        self._viewpoint = Viewpoint(settings.origin, settings.lost_after_seconds)
        self._rules = Rules(settings.lost_after_seconds, settings.refused_limit)
        self._room = asyncio.Semaphore(settings.probe_concurrency)
        self._clusters = Clusters(inventory, clock, settings.lost_after_seconds)
        self._informers: dict[str, Informer[SyncTarget]] = {}
        self._watched: dict[str, Watched] = {}
        self._taken: Counter[str] = Counter()  # by workspace
        self._beyond: dict[str, dict[str, SyncTarget]] = {}  # what is not taken, by workspace and key

    async def answer_doubts(self) -> None:
        """Look at once at what another copy doubts (see `assess`), or judged as we did not, and at what the bucket
        lost, until cancelled."""
        view = self._inventory.view
        async for keys in view.changes():
            for key in keys:
                self._clusters.note(key)
                entry, watched = view.get(key), self._watched.get(key)
                if not watched:
                    continue
                if entry is None and view.incomplete:
                    watched.read_anew()
                elif entry and (entry.doubted_at > watched.health.answered_at or self._clusters.contested(entry)):
                    watched.changed.set()

    async def follow_copies(self, changes: AsyncIterator[None]) -> None:
        """See, whenever copies come or go, what is to be looked at here from now on, until cancelled."""
        async for _ in changes:
            for watched in self._watched.values():
                watched.changed.set()

    async def follow(self, workspace: str, client: Client) -> None:
        """Follow the SyncTargets of one workspace until cancelled. One that serves none is asked again slowly."""
        informer = Informer(client, SYNCTARGETS, decode=decode_synctarget, refused=self._settings.absent_retry_seconds)
        self._informers[workspace] = informer
        try:
            async with informer, asyncio.TaskGroup() as tasks:
                deciding: asyncio.Task[None] | None = None
                async for change in informer.events():
                    if change.kind == "Synced":
                        self._prune(workspace)
                    elif change.object is None:
                        key = TargetRef(workspace=workspace, name=change.key[1]).key
                        self._beyond.get(workspace, {}).pop(key, None)
                        await self._remove(key)
                        await self._take_next(workspace, client, tasks)
                    else:
                        deciding = deciding or tasks.create_task(self._rbac.follow(workspace, client))
                        await self._try_to_take(workspace, client, change.object, tasks)
        finally:
            del self._informers[workspace]
            self._beyond.pop(workspace, None)
            del self._taken[workspace]
            for key in [key for key, watched in self._watched.items() if watched.workspace == workspace]:
                del self._watched[key]

    def forget(self, workspace: str) -> None:
        """The workspace is gone, and so are its targets."""
        for key, entry in self._inventory.view.entries.items():
            if entry.value.workspace == workspace:
                self._drop(key, entry.value.uid)

    def sweep(self, gone: Callable[[str], bool]) -> None:
        """Delete entries of workspaces that are `gone`, and of SyncTargets that their workspace no longer has."""
        for key, entry in self._inventory.view.entries.items():
            workspace = entry.value.workspace
            if (workspace not in self._informers and gone(workspace)) or self._absent(workspace, entry.value.name):
                self._drop(key, entry.value.uid)
        for watched in self._watched.values():
            if watched.key not in self._inventory.view.entries and not watched.health.undecided:
                watched.read_anew()  # somebody emptied the bucket

    def _absent(self, workspace: str, name: str) -> bool:
        """Whether the workspace is known to have no such SyncTarget; one that does not serve the kind has none."""
        informer = self._informers.get(workspace)
        if informer is None or ("", name) in informer.objects:
            return False
        return informer.synced.is_set() or (isinstance(informer.error, ApiError) and informer.error.not_found)

    def _prune(self, workspace: str) -> None:
        for key, entry in self._inventory.view.entries.items():
            if entry.value.workspace == workspace and self._absent(workspace, entry.value.name):
                self._drop(key, entry.value.uid)

    def _drop(self, key: str, uid: str) -> None:
        """The SyncTarget is gone. An entry of another one by its name, which another copy has seen already, stays."""

        def without(stored: Target | None) -> Target | None:
            return None if stored is None or stored.uid == uid else stored

        if without(self._inventory.latest(key)) is None:
            self._inventory.want(key, None, without)
            self._clusters.note(key)

    async def _try_to_take(self, workspace: str, client: Client, found: SyncTarget, tasks: asyncio.TaskGroup) -> None:
        """One odd SyncTarget must not end the process: it is left out, the others go on."""
        try:
            await self._take(workspace, client, found, tasks)
        except Exception:
            log.exception("SyncTarget left out", extra={"workspace": workspace, "target": found.metadata.name})

    async def _take(self, workspace: str, client: Client, found: SyncTarget, tasks: asyncio.TaskGroup) -> None:
        key = TargetRef(workspace=workspace, name=found.metadata.name).key
        watched = self._watched.get(key)
        if watched is not None and watched.found.metadata.uid != found.metadata.uid:
            await self._remove(key)
            watched = None
        if watched is None and 0 < self._settings.max_workspace_targets <= self._taken[workspace]:
            await self._turn_away(workspace, client, found)
            return
        if watched is None:
            self._taken[workspace] += 1
            known = self._inventory.latest(key)
            same = known is not None and known.uid == found.metadata.uid
            health = resume(known if same else None, self._clock())
            watched = self._watched[key] = Watched(workspace, client, found, health)
            watched.task = tasks.create_task(self._keep(watched), name=f"target {key}")
            return
        if watched.found.spec != found.spec:
            watched.changed.set()
        watched.found = found
        if self._inventory.latest(key) is not None:
            self._want(watched, None)

    async def _turn_away(self, workspace: str, client: Client, found: SyncTarget) -> None:
        """Refuse one that is more than its workspace may offer, and say so on it, once."""
        ref = TargetRef(workspace=workspace, name=found.metadata.name)
        beyond = self._beyond.setdefault(workspace, {})
        new = ref.key not in beyond
        beyond[ref.key] = found
        if not new:
            return
        most = self._settings.max_workspace_targets
        audit.refused("TooManyTargets", target=ref.id, most=most)
        status = turned_away(found, f"its workspace offers more than the {most} targets that it may", self._clock())
        try:
            await client.apply(
                SYNCTARGETS,
                _status_object(ref.name, status),
                field_manager=FIELD_MANAGER,
                force=True,
                subresource="status",
                type=SyncTarget,
            )
        except KubeError as error:  # a courtesy
            log.info("status not written", extra={"target": ref.id, "error": str(error)})

    async def _take_next(self, workspace: str, client: Client, tasks: asyncio.TaskGroup) -> None:
        """There may be room for one that was turned away."""
        beyond = self._beyond.get(workspace)
        if beyond and self._taken[workspace] < self._settings.max_workspace_targets:
            await self._try_to_take(workspace, client, beyond.pop(next(iter(beyond))), tasks)

    async def _remove(self, key: str) -> None:
        watched = self._watched.pop(key, None)
        if watched is not None:
            self._taken[watched.workspace] -= 1
        if watched is not None and watched.task is not None:
            watched.task.cancel()
            await asyncio.wait([watched.task])
            await self._clients.forget(watched.ref.id)
        known = self._inventory.latest(key)
        if known is not None:
            self._drop(key, watched.found.metadata.uid if watched is not None else known.uid)

    def _want(self, watched: Watched, seen: ClusterFacts | None) -> Target:
        """Have the inventory hold what is known now; returns that."""
        make = functools.partial(self._entry, watched.workspace, watched.found, seen)
        whole = seen is not None and watched.asked_for_all

        def again(stored: Target | None) -> Target | None:
            if stored is None and not whole:  # it was lost, and would come back without what was not asked for now
                watched.read_anew()
                return None
            return make(stored)

        before = self._inventory.latest(watched.key)
        target = make(before)
        self._inventory.want(watched.key, target, again)
        self._clusters.note(watched.key)
        if target.duplicate and (before is None or not before.duplicate) and (holder := self._clusters.holder(target)):
            audit.refused("DuplicateCluster", target=target.id, holder=holder.id, cluster=target.cluster)
        return target

    def _entry(self, workspace: str, found: SyncTarget, seen: ClusterFacts | None, previous: Target | None) -> Target:
        target = target_of(workspace, found, seen, previous, self._viewpoint)
        if seen is not None and seen.cluster == "" and previous is not None:
            previous = msgspec.structs.replace(previous, ready=False)  # it was asked, and is not to be had
        return self._clusters.judged(target, previous, found.status.cluster_uid)

    async def _keep(self, watched: Watched) -> None:
        """Look at one target for as long as there is a SyncTarget for it.

        Whatever its cluster answers, or its kubeconfig says, costs this target alone: a bug of ours that it wakes is
        logged, and the target counts as not usable until a look succeeds.
        """
        while True:
            watched.changed.clear()
            if not self._is_to_look(watched):
                await watched.changed.wait()
                watched.health = resume(self._inventory.latest(watched.key), self._clock())
                continue
            try:
                async with self._room:
                    seen = await self._look(watched)
                if seen is not None:
                    watched.health = seen.health
                    await self._tell(watched, seen)
            except Exception as error:
                log.exception("look at a target failed", extra={"target": watched.key})
                probe = Probe("unusable", problem=FAULT, detail=type(error).__name__)
                watched.health = observe(watched.health, probe, self._clock(), self._rules)
                self._inventory.want(watched.key, _unusable(self._inventory.latest(watched.key)), _unusable)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(watched.health)):
                    await watched.changed.wait()

    def _is_to_look(self, watched: Watched) -> bool:
        """Whether it is for this copy to look at a target: at those that another one cannot reach all copies look."""
        entry = self._inventory.latest(watched.key)
        return self._mine(watched.key) or (entry is not None and bool(entry.doubted_at or entry.lost_since))

    async def _look(self, watched: Watched) -> ClusterFacts | None:
        settings, now = self._settings, self._clock()
        known = self._inventory.latest(watched.key)
        target = self._entry(watched.workspace, watched.found, None, known)
        nodes = now >= watched.nodes_due or known is None
        apis = now >= watched.apis_due or known is None
        watched.asked_for_all = nodes and apis
        seen = await self._prober.look(target, watched.health, nodes=nodes, apis=apis)
        if seen is not None and (seen.slow or seen.nodes is not None or seen.allocated is not None):
            watched.nodes_due = now + settings.capacity_interval_seconds
        if seen is not None and seen.strays is not None:  # what comes or goes just now is none
            twice = tuple(stray for stray in seen.strays if stray in watched.suspects)
            watched.suspects = frozenset(seen.strays)
            seen = msgspec.structs.replace(seen, strays=twice)
        if seen is not None and (seen.slow or seen.apis is not None):
            watched.apis_due = now + settings.api_interval_seconds
        return seen

    async def _tell(self, watched: Watched, seen: ClusterFacts) -> None:
        """Put it into the inventory, and into the SyncTarget's status where that is worth a write."""
        before, entry = self._inventory.latest(watched.key), self._inventory.view.entries.get(watched.key)
        target = self._want(watched, seen)
        now = self._clock()
        status = status_of(watched.found, target, seen, now, self._clusters.holder(target))
        try:
            if worth_writing(watched.found, status, now, self._settings.heartbeat_interval_seconds):
                watched.found = await watched.client.apply(
                    SYNCTARGETS,
                    _status_object(target.name, status),
                    field_manager=FIELD_MANAGER,
                    force=True,
                    subresource="status",
                    type=SyncTarget,
                )
            if seen.allocated is not None and (patch := allocated_patch(watched.found, target)):
                watched.found = await watched.client.merge_patch(
                    SYNCTARGETS,
                    target.name,
                    patch,
                    field_manager=FIELD_MANAGER,
                    subresource="status",
                    type=SyncTarget,
                )
        except KubeError as error:  # the next look tries again
            log.info("status not written", extra={"target": target.id, "error": str(error)})
        if (said := strays.news(before, target)) is not None:
            await self._tell_of_strays(watched, target, said, occasion=str(entry.revision if entry is not None else 0))

    async def _tell_of_strays(self, watched: Watched, target: Target, said: strays.StrayNews, *, occasion: str) -> None:
        """Say it in the log and by an Event; copies that come to it from the same entry write the same one."""
        if target.strays:
            some = sorted(str(stray.placement) for stray in target.strays)[:10]
            log.warning("what nobody decided runs in a target", extra={"target": target.id, "placements": some})
        with contextlib.suppress(KubeError):  # a courtesy
            await tell(watched.client, COMPONENT, watched.found, *said, self._clock(), occasion=occasion)

    def _pause(self, health: Health) -> float:
        """Seconds until the next look: sooner while it fails, and never many targets at the same time."""
        interval = self._settings.probe_interval_seconds
        if health.failing_since or health.back_since or not health.answered_at:
            interval = min(interval, self._settings.lost_after_seconds / 6)
        return interval * (0.9 + 0.2 * self._chance())


def _unusable(stored: Target | None) -> Target | None:
    return None if stored is None else msgspec.structs.replace(stored, ready=False, reason=FAULT)


def _status_object(name: str, status: SyncTargetStatus) -> dict[str, Any]:
    """What is applied: the name and the status, nothing of the spec."""
    return {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": SYNCTARGETS.kind,
        "metadata": {"name": name},
        "status": msgspec.to_builtins(status),
    }

"""Follows the SyncTargets of each workspace: probes their clusters, keeps the inventory, writes their status."""

import asyncio
import contextlib
import functools
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from services.discovery import strays
from services.discovery.clusters import Clusters
from services.discovery.health import Health, Probe, Rules, observe, resume
from services.discovery.inventory import (
    ClusterFacts,
    Viewpoint,
    kubeconfig_of,
    status_of,
    target_of,
    turned_away,
    worth_writing,
)
from services.discovery.probing import Prober
from services.discovery.projection import Projection
from services.discovery.rbac import Rbac
from services.discovery.reserved import Reserved
from services.discovery.room import counted_patch, is_due
from services.discovery.secrets import KubeconfigSecrets
from services.discovery.serving import ServedChanges
from services.discovery.settings import DiscoverySettings
from services.discovery.telling import FIELD_MANAGER, tell_of_strays, write_status
from services.discovery.watched import Watched
from shared.api import SyncTarget, decode_synctarget
from shared.hub.export import follow
from shared.hub.resources import SYNCTARGETS
from shared.hub.targets import TargetClients
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.subscription import Key
from shared.model.refs import TargetRef
from shared.model.target import Target
from shared.process import audit

log = logging.getLogger("moorage.discovery")

FAULT = "causing a fault in discovery"


class Targets:
    """The SyncTargets of all followed workspaces."""

    def __init__(
        self,
        inventory: Projection[Target],
        clients: TargetClients,
        rbac: Rbac,
        settings: DiscoverySettings,
        clock: Callable[[], float],
        reserved: Reserved,
        mine: Callable[[str], bool],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`mine`: whether it is for this copy of the worker to look at a target, by its key."""
        self._inventory = inventory
        self._clients = clients
        self._rbac = rbac
        self._prober = Prober(clients, settings, clock, reserved.in_target)
        self._reserved = reserved
        self._settings = settings
        self._clock = clock
        self._mine = mine
        self._chance = chance
        self._viewpoint = Viewpoint(settings.origin, settings.lost_after_seconds)
        self._rules = Rules(settings.lost_after_seconds, settings.refused_limit)
        self._room = asyncio.Semaphore(settings.probe_concurrency)
        self._clusters = Clusters(inventory, clock, settings.lost_after_seconds)
        self._secrets = KubeconfigSecrets(self._secret_changed, refused=settings.api_interval_seconds)
        self.profiles_say = self._secrets.profiles
        self._served = ServedChanges(most=settings.followed_targets, refused=settings.api_interval_seconds)
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
        informer = follow(client, SYNCTARGETS, decode=decode_synctarget, refused=self._settings.absent_retry_seconds)
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
            await self._secrets.leave(workspace)
            del self._informers[workspace]
            self._beyond.pop(workspace, None)
            del self._taken[workspace]
            for key in [key for key, watched in self._watched.items() if watched.workspace == workspace]:
                del self._watched[key]

    def offered(self, workspace: str) -> Mapping[Key, SyncTarget] | None:
        """The SyncTargets of a workspace, as they were seen last; None until all are known."""
        informer = self._informers.get(workspace)
        return informer.objects if informer is not None and informer.synced.is_set() else None

    def _secret_changed(self, workspace: str, namespace: str, name: str) -> None:
        """A Secret is another one than before, or was not known: look by it, unless that was done already."""
        for watched in self._watched.values():
            ref = kubeconfig_of(watched.found.spec)
            if ref is None or (watched.workspace, ref.namespace, ref.name) != (workspace, namespace, name):
                continue
            if self._clients.version(watched.ref.id) != self._secrets.version(workspace, ref):
                watched.changed.set()

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
            await write_status(client, ref.name, status)
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
        try:
            await self._look_again(watched)
        finally:
            await self._served.leave(watched.key)

    async def _look_again(self, watched: Watched) -> None:
        while True:
            watched.changed.clear()
            if not self._is_to_look(watched):
                await self._served.leave(watched.key)
                await watched.changed.wait()
                watched.health = resume(self._inventory.latest(watched.key), self._clock())
                continue
            try:
                async with self._room:
                    seen = await self._look(watched)
                if seen is not None:
                    watched.health = seen.health
                    await self._tell(watched, seen)
                    await self._follow_served(watched)
            except Exception as error:
                log.exception("look at a target failed", extra={"target": watched.key})
                probe = Probe("unusable", problem=FAULT, detail=type(error).__name__)
                watched.health = observe(watched.health, probe, self._clock(), self._rules)
                self._inventory.want(watched.key, _unusable(self._inventory.latest(watched.key)), _unusable)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(watched.health)):
                    await watched.changed.wait()

    async def _follow_served(self, watched: Watched) -> None:
        """Be told of what changes what the cluster serves, for as long as it is there."""
        known = self._inventory.latest(watched.key)
        if watched.health.lost_since or watched.health.problem or known is None:
            await self._served.leave(watched.key)
        elif not watched.health.failing_since:
            try:
                client = await self._clients.get(self._as_the_secret_is(watched, known))
            except (KubeError, ValueError) as error:  # the next look says what is wrong, if anything still is
                log.info("APIs are not followed yet", extra={"target": watched.key, "error": str(error)})
            else:
                await self._served.follow(watched.key, client, watched.read_apis_anew)

    def _is_to_look(self, watched: Watched) -> bool:
        """Whether it is for this copy to look at a target: at those that another one cannot reach all copies look."""
        entry = self._inventory.latest(watched.key)
        return self._mine(watched.key) or (entry is not None and bool(entry.doubted_at or entry.lost_since))

    async def _look(self, watched: Watched) -> ClusterFacts | None:
        settings, now = self._settings, self._clock()
        known = self._inventory.latest(watched.key)
        target = self._as_the_secret_is(watched, self._entry(watched.workspace, watched.found, None, known))
        nodes = now >= watched.nodes_due or known is None
        apis = now >= watched.apis_due or known is None
        watched.asked_for_all = nodes and apis
        asked = watched.asked
        seen = await self._prober.look(target, watched.health, nodes=nodes, apis=apis)
        if seen is not None and seen.cluster and target.cluster and seen.cluster != target.cluster:
            watched.suspects = frozenset()
            seen = msgspec.structs.replace(seen, health=msgspec.structs.replace(seen.health, losses=()))
        still = asked == watched.asked  # else it was asked for again meanwhile
        if seen is not None and still and (seen.slow or seen.nodes is not None or seen.allocated is not None):
            watched.nodes_due = now + settings.capacity_interval_seconds
        if seen is not None and seen.strays is not None:  # what comes or goes just now is none
            twice = tuple(stray for stray in seen.strays if stray in watched.suspects)
            watched.suspects = frozenset(seen.strays)
            seen = msgspec.structs.replace(seen, strays=twice)
        if seen is not None and still and (seen.slow or seen.apis is not None):
            watched.apis_due = now + settings.api_interval_seconds
        return seen

    def _as_the_secret_is(self, watched: Watched, target: Target) -> Target:
        """A target as it is looked at: by the kubeconfig that there is now."""
        if target.kubeconfig is None:
            return target
        self._secrets.follow(watched.workspace, watched.client, target.kubeconfig)
        version = self._secrets.version(watched.workspace, target.kubeconfig)
        return msgspec.structs.replace(target, kubeconfig=msgspec.structs.replace(target.kubeconfig, version=version))

    async def _tell(self, watched: Watched, seen: ClusterFacts) -> None:
        """Put it into the inventory, and into the SyncTarget's status where that is worth a write."""
        before, entry = self._inventory.latest(watched.key), self._inventory.view.entries.get(watched.key)
        target = self._want(watched, seen)
        now = self._clock()
        status = status_of(watched.found, target, seen, now, self._clusters.holder(target))
        try:
            if worth_writing(watched.found, status, now, self._settings.heartbeat_interval_seconds):
                watched.found = await write_status(watched.client, target.name, status)
            counted = seen.nodes is not None or seen.allocated is not None
            occupied = self._reserved.occupancy(target.id)
            if is_due(watched.found, counted=counted) and (patch := counted_patch(watched.found, target, occupied)):
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
            occasion = str(entry.revision if entry is not None else 0)
            await tell_of_strays(watched.client, watched.found, target, said, now, occasion=occasion)

    def _pause(self, health: Health) -> float:
        """Seconds until the next look: sooner while it fails, and never many targets at the same time."""
        interval = self._settings.probe_interval_seconds
        if health.failing_since or health.back_since or not health.answered_at:
            interval = min(interval, self._settings.lost_after_seconds / 6)
        return interval * (0.9 + 0.2 * self._chance())


def _unusable(stored: Target | None) -> Target | None:
    return None if stored is None else msgspec.structs.replace(stored, ready=False, reason=FAULT)

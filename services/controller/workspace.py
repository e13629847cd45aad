"""One workspace as the controller sees it: Placements, policies, decisions, bindings, workloads."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

from services.controller.bounding import QuotaWatch
from services.controller.core.observation import KnownDecision, gives_back, whole
from services.controller.lacking import KindKey, LackingKinds
from services.controller.policies import PolicyWatch
from services.controller.projections import (
    KnownBinding,
    binding_of,
    decision_of,
    kind_of,
    same_wish,
    workload_of,
)
from services.controller.referred import Referred
from services.controller.scoping import NamespaceWatch
from services.controller.selectors import SelectorIndex
from shared.api import Placement, PlacementOverride, decode_override, decode_placement
from shared.hub.access import Access
from shared.hub.export import follow
from shared.hub.kinds import BUILT_IN, Kinds
from shared.hub.rendering import source_hash
from shared.hub.resources import (
    BINDINGS,
    DECISIONS,
    OVERRIDES,
    PLACEMENTS,
    POLICIES,
    QUOTAS,
    SYNCTARGETS,
    WORKLOAD_KINDS,
)
from shared.hub.workload import Selected
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.model.declared import DeclaredKind
from shared.model.refs import PlacementRef
from shared.model.request import WorkloadObject

SYNC_TIMEOUT = 2.0  # seconds; a slot is held meanwhile that others need

Notify = Callable[[PlacementRef], None]
PolicyChange = Callable[[str], None]


class Unreadable(Exception):
    """The API server does not let us read what a placement selects; says why."""


class WorkspaceWatch:
    """Live caches of one workspace.

    `notify` hears of every placement that something changed for which its wish depends on, `touched` of every one of
    which the caches have something else than before.
    """

    def __init__(
        self,
        path: str,
        client: Client,
        access: Access,
        notify: Notify,
        touched: Notify,
        policy_changed: PolicyChange,
        kind_changed: PolicyChange,
        override_changed: PolicyChange,
        freed: Callable[[], None],
        clock: Callable[[], float] = time.time,
        quota_changed: PolicyChange = lambda _: None,
        most_quotas: int = 0,
    ) -> None:
        self.path = path
        self.client = client
        self.mapper = RestMapper(client)
        self._lacking = LackingKinds(path, client, self._may_be_served)
        self._notify = notify
        self._touched = touched
        self._kind_changed = kind_changed
        self._override_changed = override_changed
        self._freed = freed
        self._placements = follow(client, PLACEMENTS, decode=decode_placement)
        self.policies = PolicyWatch(path, client, self.mapper, access, policy_changed, clock)
        self._declared = follow(client, WORKLOAD_KINDS, decode=functools.partial(kind_of, path))
        self._overrides = follow(client, OVERRIDES, decode=decode_override)
        self.quotas = QuotaWatch(path, client, most_quotas, quota_changed)
        self._decisions = follow(client, DECISIONS, decode=decision_of)
        self._bindings = follow(client, BINDINGS, decode=binding_of)
        self._selectors = SelectorIndex()
        self._workloads: dict[KindKey, Informer[Selected]] = {}
        self._following: dict[KindKey, asyncio.Task[None]] = {}
        self.kinds: Kinds = BUILT_IN
        """What the workspace knows, as far as it is published to all workers; `know` changes it."""
        self.referred = Referred(client, notify)
        self.namespaces = NamespaceWatch(client, self._relabelled)
        self._bound: dict[PlacementRef, dict[str, KnownBinding]] = {}  # by the name of the PlacementBinding
        self._bound_known = asyncio.Event()
        self._beyond: frozenset[tuple[str, str]] | None = None  # None: not known since Placements came or went
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def synced(self) -> bool:
        """True if all that concerns placements has been read once, or is not served here at all.

        Where there are Placements, that the rest is not served passes: a kind that is being replaced, or an API server
        that begins, answers so for a while. To go by that, each would count as never decided, and be decided anew.
        """
        said: tuple[Informer[Any], ...] = (self._declared, self._overrides, self.quotas.objects)
        besides = all(map(_read_or_not_served, said))
        if self._placements.synced.is_set():
            needed = (self.policies.known, self._decisions.synced, self._bound_known)
            return all(each.is_set() for each in needed) and besides
        followed: tuple[Informer[Any], ...] = (self._decisions, self._bindings)
        return (
            besides and _not_served(self._placements) and self.policies.read and all(map(_read_or_not_served, followed))
        )

    async def run(self) -> None:
        """Follow the workspace until cancelled."""
        async with self._stack, asyncio.TaskGroup() as self._tasks:
            said: tuple[Informer[Any], ...] = (self._placements, self._declared, self._overrides)
            for informer in (*said, self._decisions, self._bindings):
                await self._stack.enter_async_context(informer)
            self._tasks.create_task(self.referred.run())
            self._tasks.create_task(self.namespaces.run())
            self._tasks.create_task(self._lacking.run())
            self._tasks.create_task(self.policies.run())
            self._tasks.create_task(self._follow_declared())
            self._tasks.create_task(self._follow_overrides())
            self._tasks.create_task(self.quotas.run())
            self._tasks.create_task(self._follow_placements())
            self._tasks.create_task(self._follow_decisions())
            self._tasks.create_task(self._follow_bindings())

    async def _follow_placements(self) -> None:
        needed = (self.policies.known, self._decisions.synced, self._bound_known)
        tried = (self._declared.tried, self._overrides.tried, self.quotas.objects.tried)
        await asyncio.gather(*(each.wait() for each in (*needed, *tried)))
        async for change in self._placements.events():
            if change.kind == "Synced":
                continue
            self._touched(self.ref(*change.key))
            if change.kind != "Modified":
                self._beyond = None
            elif same_wish(change.old, change.object):
                continue  # only its status moved
            self._selectors.put(change.key, change.object)
            self._notify(self.ref(*change.key))

    async def _follow_declared(self) -> None:
        async for change in self._declared.events():
            if change.kind != "Synced":
                self._kind_changed(change.key[1])

    async def _follow_overrides(self) -> None:
        async for change in self._overrides.events():
            if change.kind != "Synced":
                self._override_changed(change.key[1])

    async def _follow_decisions(self) -> None:
        async for change in self._decisions.events():
            known = change.object or change.old
            if known is None:
                continue
            owner = self.ref(change.key[0], known.slice_of or change.key[1])
            self._touched(owner)
            # What is decided wakes nobody else, unless room is given back. That nothing is decided any more may let a
            # placement go.
            if change.kind == "Deleted":
                self._notify(owner)
            elif change.old is not None and change.object is not None and gives_back(change.old, change.object):
                self._freed()

    async def _follow_bindings(self) -> None:
        async for change in self._bindings.events():
            if change.kind == "Synced":
                self._bound_known.set()
            elif change.object is not None:
                owner = self._owner(change.key, change.object)
                self._bound.setdefault(owner, {})[change.key[1]] = change.object
                self._touched(owner)
            elif change.old is not None:
                owner = self._owner(change.key, change.old)
                self._bound.get(owner, {}).pop(change.key[1], None)
                self._touched(owner)
                self._notify(owner)
                self._freed()

    async def _follow_workload(self, kind: KindKey, informer: Informer[Selected]) -> None:
        async with informer:
            async for change in informer.events():
                if change.kind != "Synced" and change.object != change.old:
                    for key in self._selectors.concerned(kind, *change.key):
                        self._notify(self.ref(*key))

    def _relabelled(self, namespace: str) -> None:
        """Look again at the placements of a namespace: other policies may hold for them."""
        for key in self._placements.objects:
            if key[0] == namespace:
                self._notify(self.ref(*key))

    def _may_be_served(self, kinds: frozenset[KindKey]) -> None:
        """Look again at what selects some of the kinds that were not served."""
        self.mapper.expire()
        for kind in kinds:
            keys = self._selectors.selecting(kind)
            for key in keys:
                self._notify(self.ref(*key))
            if not keys:
                self._lacking.discard(kind)

    def _owner(self, key: tuple[str, str], binding: KnownBinding) -> PlacementRef:
        """The placement that a PlacementBinding belongs to; it lives in the same namespace."""
        return self.ref(key[0], binding.placement)

    def ref(self, namespace: str, name: str) -> PlacementRef:
        """A placement of this workspace."""
        return PlacementRef(workspace=self.path, namespace=namespace, name=name)

    def placement(self, ref: PlacementRef) -> Placement | None:
        return self._placements.objects.get((ref.namespace, ref.name))

    def placements(self) -> Iterable[tuple[PlacementRef, Placement]]:
        """All placements of the workspace."""
        return [(self.ref(*key), placement) for key, placement in self._placements.objects.items()]

    def beyond(self, most: int) -> frozenset[tuple[str, str]]:
        """Which Placements, by namespace and name, are more than `most`: the newest. 0: none, however many."""
        known = self._placements.objects
        if not most or len(known) <= most:
            return frozenset()
        if self._beyond is None:
            by_age = sorted(known, key=lambda key: (known[key].metadata.creation_timestamp or "", key))
            self._beyond = frozenset(by_age[most:])
        return self._beyond

    def overrides(self) -> Iterable[PlacementOverride]:
        """The PlacementOverrides of the workspace."""
        return self._overrides.objects.values()

    def override(self, name: str) -> PlacementOverride | None:
        return self._overrides.objects.get(("", name))

    def declared(self) -> Iterable[DeclaredKind]:
        """The WorkloadKinds of the workspace."""
        return self._declared.objects.values()

    def declared_kind(self, name: str) -> DeclaredKind | None:
        return self._declared.objects.get(("", name))

    def know(self, kinds: Kinds) -> None:
        """What is declared for the workspace is something else now: read objects of these kinds anew when asked for."""
        before, self.kinds = self.kinds, kinds
        for key in list(self._workloads):
            if before.named(*key) != kinds.named(*key):
                self._workloads.pop(key)
                self._following.pop(key).cancel()

    def decision(self, ref: PlacementRef) -> KnownDecision | None:
        first = self._decisions.objects.get((ref.namespace, ref.name))
        if first is None or first.slice_of:
            return None
        return whole(ref.name, first, lambda name: self._decisions.objects.get((ref.namespace, name)))

    def attempts(self, ref: PlacementRef) -> dict[str, int]:
        """For which attempt each of a placement's PlacementBindings was last written, by the id of its target."""
        return {binding.target: binding.attempt for binding in self._bound.get(ref, {}).values()}

    def bound_kinds(self, ref: PlacementRef) -> frozenset[tuple[str, str]]:
        """Group and kind of all that a placement has in targets."""
        return frozenset[tuple[str, str]]().union(*(each.kinds for each in self._bound.get(ref, {}).values()))

    async def workload(self, api_version: str, kind: str) -> Informer[Selected]:
        """A live cache of one kind of the workspace's objects, complete when this returns.

        Raises UnknownKind where the workspace does not serve it, Unreadable where we are not let, TimeoutError where it
        is not read in time.
        """
        key = (api_version, kind)
        async with self._opening:
            if key not in self._workloads:
                try:
                    resource: Resource = await self.mapper.resource(api_version, kind)
                except UnknownKind:
                    self._lacking.add(key)
                    raise
                self._lacking.discard(key)
                assert self._tasks is not None  # `run` is running
                informer = Informer(self.client, resource, decode=workload_of(api_version, kind, self.kinds))
                self._workloads[key] = informer
                self._following[key] = self._tasks.create_task(self._follow_workload(key, informer))
        found = self._workloads[key]
        if not found.synced.is_set() and isinstance(found.error, ApiError) and found.error.forbidden:
            raise Unreadable(found.error.message or str(found.error))
        async with asyncio.timeout(SYNC_TIMEOUT):
            await found.synced.wait()
        return found

    async def content(self, known: WorkloadObject) -> dict[str, Any] | None:
        """An object of the workspace itself; None where it is not what the cache knows (any more)."""
        resource = await self.mapper.resource(known.api_version, known.kind)
        try:
            found = await self.client.get(resource, known.name, known.namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            return None
        obj = {**found, "apiVersion": known.api_version, "kind": known.kind}
        return obj if source_hash(obj) == known.hash else None

    async def is_gone(self, ref: PlacementRef) -> bool:
        """True if the API server, asked now, has no such Placement, and serves the kind."""
        return await self._is_gone(PLACEMENTS, ref.name, ref.namespace)

    async def kind_is_gone(self, name: str) -> bool:
        """True if the API server, asked now, has no such WorkloadKind, and serves the kind."""
        return await self._is_gone(WORKLOAD_KINDS, name)

    async def quota_is_void(self, name: str) -> bool:
        """True if the API server, asked now, has no such PlacementQuota that holds, and serves the kind."""
        return await self._is_gone(QUOTAS, name) or await self.quotas.is_void(name)

    async def target_is_gone(self, name: str) -> bool:
        """True if the API server, asked now, has no such SyncTarget, and serves the kind."""
        return await self._is_gone(SYNCTARGETS, name)

    async def policy_is_gone(self, name: str) -> bool:
        """True if the API server, asked now, has no such PlacementPolicy, and serves the kind."""
        return await self._is_gone(POLICIES, name)

    async def _is_gone(self, resource: Resource, name: str, namespace: str = "") -> bool:
        try:
            await self.client.get(resource, name, namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            return error.absent(name)
        return False


def _read_or_not_served(informer: Informer[Any]) -> bool:
    return informer.synced.is_set() or _not_served(informer)


def _not_served(informer: Informer[Any]) -> bool:
    return isinstance(informer.error, ApiError) and informer.error.not_found

"""What an audit looks at, as NATS, the hub and the targets have it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from services.cli.hub.auditor import Evidence, Place
from services.cli.hub.connection import explained
from shared.api import PlacementDecision, PlacementDecisionStatus
from shared.broker.store import Store
from shared.broker.table import Table
from shared.hub.access_providers import providers
from shared.hub.hub import Hub, open_hub
from shared.hub.kinds import kind_named
from shared.hub.names import MANAGED_SELECTOR, OWNER_ANNOTATION, SYSTEM_NAMESPACE, field_manager, parse_owner
from shared.hub.resources import BINDINGS, DECISIONS
from shared.hub.slices import joined
from shared.hub.targets import TargetClients, perimeter
from shared.hub.workload import summarize
from shared.kube.applyset import APPLYSET_ID
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import CONFIGMAPS, Resource
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources, add, subtract
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY, RESERVATIONS, WORKSPACES
from shared.process.settings import HubSettings

AT_ONCE = 16  # workspaces or targets


class Witness:
    """Looks at everything, as often as it is asked."""

    def __init__(self, store: Store, hub: Hub, clients: TargetClients) -> None:
        self._reservations = Table(store, RESERVATIONS)
        self._inventory = Table(store, INVENTORY)
        self._workspaces = Table(store, WORKSPACES)
        self._hub = hub
        self._clients = clients

    async def look(self) -> Evidence:
        """What there is now. What cannot be read is named in it; raises BusError where NATS does not answer."""
        before = await self._reserved()
        targets = [entry.value for entry in await self._inventory.entries()]
        unseen: dict[str, str] = {}
        applied: dict[Place, Resources] = {}
        sets: set[Place] = set()
        slots = asyncio.Semaphore(AT_ONCE)

        async def in_target(target: Target) -> None:
            try:
                async with slots:
                    client = await self._clients.get(target)
                    found, parents = await _in_target(client, target)
            except (KubeError, ValueError) as error:
                unseen[f"target {target.id}"] = str(error)
            else:
                applied.update(found)
                sets.update(parents)

        await asyncio.gather(*map(in_target, targets))
        decided: dict[PlacementRef, PlacementDecisionStatus] = {}
        bound: set[Place] = set()

        async def in_workspace(path: str) -> None:
            try:
                async with slots:
                    found, bindings = await self._in_workspace(path)
            except KubeError as error:
                unseen[f"workspace {path}"] = explained(error)
            else:
                decided.update(found)
                bound.update(bindings)

        await asyncio.gather(*(in_workspace(entry.value.path) for entry in await self._workspaces.entries()))
        return Evidence(
            now=time.time(),
            room={each.id: subtract(each.allocatable, each.allocated) for each in targets if each.ready},
            reserved=await self._reserved(),
            reserved_before=before,
            decided=decided,
            bound=frozenset(bound),
            applied=applied,
            sets=frozenset(sets),
            unseen=unseen,
        )

    async def _reserved(self) -> dict[Place, Reservation]:
        entries = await self._reservations.entries()
        return {
            (entry.value.placement, TargetRef.owning(entry.key).id): entry.value
            for entry in entries
            if entry.value.placement.name and not entry.value.released_at
        }

    async def _in_workspace(self, path: str) -> tuple[dict[PlacementRef, PlacementDecisionStatus], set[Place]]:
        client = self._hub.at(path)
        try:
            bindings = (await client.list(BINDINGS)).items
            decisions = joined((await client.list(DECISIONS, type=PlacementDecision)).items)
        except ApiError as error:
            if error.not_found:  # a workspace without our kinds has nothing decided
                return {}, set()
            raise
        bound = set()
        for each in bindings:
            spec, namespace = each["spec"], each["metadata"]["namespace"]
            ref = PlacementRef(workspace=path, namespace=namespace, name=spec["placementRef"]["name"])
            target = spec["target"]
            bound.add((ref, TargetRef(workspace=target.get("workspace", ""), name=target["name"]).id))
        decided = {}
        for decision in (each.decision for each in decisions):
            metadata = decision.metadata
            decided[PlacementRef(workspace=path, namespace=metadata.namespace, name=metadata.name)] = decision.status
        return decided, bound


async def _in_target(client: Client, target: Target) -> tuple[dict[Place, Resources], set[Place]]:
    """What the placements' pods request in a target, and whose ApplySets are there.

    Raises KubeError, and ValueError for what cannot be counted.
    """
    parts: dict[Place, list[Resources]] = defaultdict(list)
    for resource in _with_pods(target):
        for obj in (await client.list(resource, label_selector=MANAGED_SELECTOR)).items:
            if (ref := _owner(obj)) is not None:
                parts[ref, target.id].append(
                    _requests({"apiVersion": resource.api_version, "kind": resource.kind, **obj})
                )
    page = await client.list(CONFIGMAPS, SYSTEM_NAMESPACE, label_selector=APPLYSET_ID)
    owners = (_owner(obj) for obj in page.items)
    return {place: add(*each) for place, each in parts.items()}, {(ref, target.id) for ref in owners if ref is not None}


def _with_pods(target: Target) -> Iterable[Resource]:
    """The kinds of a target that run pods."""
    for api in target.apis:
        api_version = f"{api.group}/{api.versions[0]}" if api.group else api.versions[0]
        if kind_named(api_version, api.kind).has_pods:
            yield Resource(api.group, api.versions[0], api.resource, kind=api.kind)


def _requests(obj: dict[str, Any]) -> Resources:
    found = summarize(obj)
    count = 1 if found.replicas is None else found.replicas
    return {name: amount * count for name, amount in found.requests.items()}


def _owner(obj: dict[str, Any]) -> PlacementRef | None:
    return parse_owner(str((obj["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, "")))


@asynccontextmanager
async def witness(settings: HubSettings, store: Store) -> AsyncIterator[Witness]:
    """Who looks at the hub that the settings name, and at the targets that are offered there. Raises ConfigError."""
    name = field_manager("audit")
    async with open_hub(settings, name) as hub:
        timeout, bounds = settings.api_timeout_seconds, perimeter(settings)
        listed = providers(settings)
        clients = TargetClients(hub, user_agent=name, timeout=timeout, perimeter=bounds, providers=listed)
        try:
            yield Witness(store, hub, clients)
        finally:
            await clients.close()

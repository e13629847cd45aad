"""What the worker has while it runs: the hub, what follows workspaces and targets, and what the handler reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.discovery.counted import lost_for, states
from services.discovery.profiles import ClusterProfiles
from services.discovery.projection import Projection
from services.discovery.rbac import Rbac
from services.discovery.reserved import Reserved
from services.discovery.scoping import Scoping
from services.discovery.screening import Screening
from services.discovery.settings import DiscoverySettings
from services.discovery.targets import Targets
from services.discovery.workspaces import Tree, paths_of, roots_of
from shared.broker.table import View
from shared.hub.access import Access, open_access
from shared.hub.access_providers import providers
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.targets import TargetClients, perimeter
from shared.model.policy import PolicyEntry
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY, POLICIES, RESERVATIONS, WORKSPACES
from shared.pipeline.runtime import Runtime
from shared.process.main import StartError
from shared.process.measured import LOST_FOR, STRAYS, TARGETS

USER_AGENT = field_manager("discovery")
_CONNECTIONS = 2  # to each target; most of the time one of them is open, which takes 40 KB


@dataclass
class Discovery:
    """What the handler reads: the inventory, the policies, which targets are offered to whom, and who may use what."""

    inventory: View[Target]
    policies: View[PolicyEntry]
    screening: Screening
    access: Access
    scoping: Scoping
    clock: Callable[[], float]
    settings: DiscoverySettings


@asynccontextmanager
async def open_discovery(runtime: Runtime) -> AsyncIterator[Discovery]:
    """Connect to the hub, and begin to follow workspaces and targets."""
    settings: DiscoverySettings = runtime.settings
    try:
        roots_of(settings.roots)
    except ValueError as error:
        raise StartError(f"setting roots: {error}") from None
    try:
        trusted = paths_of(settings.trusted_providers)
    except ValueError as error:
        raise StartError(f"setting trusted_providers: {error}") from None
    listed = providers(settings)
    reservations = Reserved(await runtime.follow(RESERVATIONS))
    inventory, workspaces = await runtime.follow(INVENTORY), await runtime.follow(WORKSPACES)
    policies = await runtime.follow(POLICIES)
    async with open_hub(settings, USER_AGENT) as hub:
        clients = TargetClients(
            hub,
            user_agent=USER_AGENT,
            timeout=settings.api_timeout_seconds,
            perimeter=perimeter(settings),
            providers=listed,
            prove=False,
            connections=_CONNECTIONS,
            tunnels=runtime.tunnels,
        )
        stored = Projection(runtime.table(INVENTORY), inventory)
        tree_stored = Projection(runtime.table(WORKSPACES), workspaces)
        rbac = Rbac(settings, tree_stored)
        copies = runtime.copies
        assert copies is not None
        targets = Targets(stored, clients, rbac, settings, runtime.clock, reservations, copies.mine)
        visitor = (
            ClusterProfiles(targets, settings, copies.mine, time.monotonic, listed)
            if settings.derive_from_namespace
            else targets
        )
        tree = Tree(hub, settings, tree_stored, visitor)
        runtime.readings += (
            STRAYS.number(lambda: sum(len(each.strays) for each in inventory.values())),
            TARGETS.read(lambda: states(inventory.values())),
            LOST_FOR.number(lambda: lost_for(inventory.values(), runtime.clock())),
        )
        try:
            # A group of our own, so that all of it has ended before the connections that it uses are closed.
            async with open_access(hub, settings, runtime.clock, rbac.state) as access, asyncio.TaskGroup() as tasks:
                works = (
                    reservations.follow(),
                    stored.run(),
                    tree_stored.run(),
                    targets.answer_doubts(),
                    tree.run(),
                    tree.mend(),
                    targets.follow_copies(copies.changes()),
                )
                following = [tasks.create_task(work) for work in works]
                screening = Screening(inventory, workspaces, policies, trusted)
                scoping = Scoping(hub, policies, workspaces)
                yield Discovery(inventory, policies, screening, access, scoping, runtime.clock, settings)
                for task in following:
                    task.cancel()
        finally:
            await clients.close()

"""What the worker has while it runs: the hub, what follows workspaces and targets, and what the handler reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.discovery.core import Candidate, Served, served
from services.discovery.projection import Projection
from services.discovery.rbac import Rbac
from services.discovery.reserved import Reserved
from services.discovery.settings import DiscoverySettings
from services.discovery.targets import Targets
from services.discovery.workspaces import Tree, paths_of, roots_of
from shared.broker.table import View
from shared.hub.access import Access, open_access
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.targets import TargetClients, perimeter
from shared.model.policy import PolicyEntry
from shared.model.target import Target, Workspace
from shared.pipeline.buckets import DISCOVERY_COPIES, INVENTORY, POLICIES, RESERVATIONS, WORKSPACES
from shared.pipeline.copies import Copies
from shared.pipeline.runner import Runtime
from shared.process.main import StartError
from shared.process.metrics import gauge

USER_AGENT = field_manager("discovery")
_CONNECTIONS = 2  # to each target; most of the time one of them is open, which takes 40 KB


@dataclass
class Discovery:
    """What the handler reads: the inventory, the workspaces, whose targets are trusted, and who may use what."""

    inventory: View[Target]
    workspaces: View[Workspace]
    policies: View[PolicyEntry]
    trusted: tuple[str, ...]
    access: Access
    clock: Callable[[], float]
    _candidates: dict[str, tuple[int, Candidate]] = field(default_factory=dict)
    _makes: dict[Served, Served] = field(default_factory=dict)

    def candidates(self) -> list[Candidate]:
        """All targets, with what they serve; that is worked out once per change of a target."""
        entries = self.inventory.entries
        for key in self._candidates.keys() - entries.keys():
            del self._candidates[key]
        if len(self._makes) > len(entries):
            self._makes.clear()
        for key, entry in entries.items():
            if key not in self._candidates or self._candidates[key][0] != entry.revision:
                found = served(entry.value)
                found = self._makes.setdefault(found, found)
                self._candidates[key] = (entry.revision, Candidate(entry.value.id, entry.value, found))
        return [candidate for _, candidate in self._candidates.values()]


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
    reservations = Reserved(await runtime.follow(RESERVATIONS))
    inventory, workspaces = await runtime.follow(INVENTORY), await runtime.follow(WORKSPACES)
    policies = await runtime.follow(POLICIES)
    async with open_hub(settings, USER_AGENT) as hub:
        clients = TargetClients(
            hub,
            user_agent=USER_AGENT,
            timeout=settings.api_timeout_seconds,
            perimeter=perimeter(settings),
            prove=False,
            connections=_CONNECTIONS,
        )
        stored = Projection(runtime.table(INVENTORY), inventory)
        tree_stored = Projection(runtime.table(WORKSPACES), workspaces)
        rbac = Rbac(settings, tree_stored)
        copies = Copies(runtime.table(DISCOVERY_COPIES), await runtime.follow(DISCOVERY_COPIES), clock=runtime.clock)
        targets = Targets(stored, clients, rbac, settings, runtime.clock, reservations.in_target, copies.mine)
        tree = Tree(hub, settings, tree_stored, targets)
        runtime.metrics.append(
            gauge(
                "moorage_strays",
                "Placements that run in targets, by the inventory, where nobody decided it.",
                lambda: sum(len(entry.value.strays) for entry in inventory.entries.values()),
            )
        )
        try:
            # A group of our own, so that all of it has ended before the connections that it uses are closed.
            async with open_access(hub, settings, runtime.clock, rbac.state) as access, asyncio.TaskGroup() as tasks:
                works = (
                    stored.run(),
                    tree_stored.run(),
                    targets.answer_doubts(),
                    tree.run(),
                    tree.mend(),
                    copies.run(),
                    targets.follow_copies(copies.changes()),
                )
                following = [tasks.create_task(work) for work in works]
                yield Discovery(inventory, workspaces, policies, trusted, access, runtime.clock)
                for task in following:
                    task.cancel()
        finally:
            await clients.close()

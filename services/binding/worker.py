"""The binding worker: applies what was decided in its target, keeps it so, or takes it back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.binding.binder import Binder
from services.binding.observations import Observations
from services.binding.records import Records
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.unused import UnusedNamespaces
from services.binding.vanished import Cleanup
from services.binding.workload import Workloads
from shared.hub.access import open_access
from shared.hub.access_providers import providers
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.retry import as_retry
from shared.hub.targets import TargetClients, perimeter
from shared.pipeline.buckets import BINDING_COPIES, INVENTORY, KINDS, REPORTS
from shared.pipeline.messages import Assigned, Bound, Observed
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker


@dataclass(frozen=True)
class Binding:
    """Everything that the handlers work with."""

    binder: Binder
    vanished: Cleanup
    observations: Observations


@asynccontextmanager
async def open_binding(runtime: Runtime) -> AsyncIterator[Binding]:
    """Connect to the hub and follow what the handler looks up."""
    settings: BindingSettings = runtime.settings

    async with (
        open_hub(settings, field_manager("binding")) as hub,
        open_access(hub, settings, runtime.clock) as access,
    ):
        targets = TargetClients(
            hub,
            user_agent=field_manager("binding"),
            timeout=settings.api_timeout_seconds,
            perimeter=perimeter(settings),
            providers=providers(settings),
            tunnels=runtime.tunnels,
        )
        records, reports = Records(hub), await runtime.follow(REPORTS)
        try:
            inventory = await runtime.follow(INVENTORY)
            reach = Reach(settings, targets, inventory, runtime.clock)
            binder = Binder(
                settings,
                records=records,
                access=access,
                workloads=Workloads(hub, access, await runtime.follow(KINDS)),
                reach=reach,
                reports=reports,
                publish=runtime.emit,
                clock=runtime.clock,
            )
            runtime.background(binder.conclusions.run(), "conclude")
            assert runtime.copies is not None
            unused = UnusedNamespaces(
                settings.unused_namespace_seconds, reach=reach, inventory=inventory, copies=runtime.copies,
                clock=runtime.clock,
            )  # fmt: skip
            runtime.background(unused.run(), "remove unused namespaces")
            observations = Observations(settings, records=records, reports=reports, binder=binder, clock=runtime.clock)
            yield Binding(binder, Cleanup(records, reach), observations)
            await binder.conclusions.close()
        finally:
            await targets.close()


worker = Worker(
    "binding",
    "Applies decisions in target clusters",
    settings=BindingSettings,
    open=open_binding,
    follows=(INVENTORY, KINDS, REPORTS),
    copies=BINDING_COPIES,
    tunnels=True,
)


def _block(message: Assigned | Observed) -> str:
    """One copy sees to a placement, or to each block of very many targets: what these have in common is read once."""
    return f"{message.about.key}.{message.block}"


@worker.handles(keep_superseded=True, dealt_by=_block)
async def bind(message: Assigned, deps: Binding) -> Bound | None:
    """Apply or remove, as holds now. Older messages count too: the PlacementDecision says whether they still hold."""
    with as_retry():
        if message.vanished:
            return await deps.vanished.remove(message)
        return await deps.binder.bind(message)


@worker.handles(keep_superseded=True, dealt_by=_block)
async def observe(message: Observed, deps: Binding) -> Bound | None:
    """Record health, correct drift. What runs is of interest while the next round is under way, too."""
    with as_retry():
        return await deps.observations.take(message)

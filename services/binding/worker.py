"""The binding worker: applies what was decided in its target, or takes it back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.binding.binder import Binder
from services.binding.kubernetes import Clusters, Records
from services.binding.settings import BindingSettings
from services.binding.workspace import Workspaces
from shared.bus import send
from shared.kube.hub import TargetClients, open_hub
from shared.kube.retry import as_retry
from shared.messages import Assigned, Bound, encode
from shared.runner import Runtime
from shared.state import HEADS, INVENTORY, REPORTS
from shared.worker import Worker


@asynccontextmanager
async def open_binding(runtime: Runtime) -> AsyncIterator[Binder]:
    """Connect to the hub and follow what the handler looks up."""
    settings: BindingSettings = runtime.settings

    async def publish(bound: Bound) -> None:
        await send(runtime.bus, bound.subject(), encode(bound), id=bound.id())

    async with open_hub(settings, "moorage-binding") as hub:
        targets = TargetClients(hub, user_agent="moorage-binding", timeout=settings.api_timeout)
        try:
            yield Binder(
                settings,
                records=Records(hub),
                workspaces=Workspaces(hub),
                clusters=Clusters(targets),
                inventory=await runtime.follow(INVENTORY),
                heads=await runtime.follow(HEADS),
                reports=await runtime.follow(REPORTS),
                publish=publish,
                clock=runtime.clock,
            )
        finally:
            await targets.close()


worker = Worker("binding", "Applies decisions in target clusters", settings=BindingSettings, open=open_binding)


@worker.handles(keep_superseded=True)
async def bind(message: Assigned, deps: Binder) -> Bound | None:
    """Apply or remove, as holds now. Older messages count too: the PlacementDecision says whether they still hold."""
    with as_retry():
        return await deps.bind(message)

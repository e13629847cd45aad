"""The whole system as a test's user sees it: its clients, and waiting until something holds."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nats

from services.cli.support.plan import Plan
from services.cli.support.system import Up, up
from shared.broker.nats.connection import connect
from shared.broker.table import Table
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS, NAMESPACES
from shared.pipeline.buckets import RESERVATIONS
from shared.process.settings import Settings
from tests.support import waiting, worlds

BOUND = 60.0
PAUSE = 0.1

BRISK = {
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "2",
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_CAPACITY_INTERVAL_SECONDS": "5",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_REWALK_INTERVAL_SECONDS": "5",
}
"""Settings by which what takes minutes takes seconds."""

until = partial(waiting.until, within=BOUND, pause=PAUSE)


class System:
    """A running system. `user` is alice's client of root:team, `targets` are clients of the target clusters."""

    def __init__(self, running: Up, admin: Client, user: Client, targets: dict[str, Client]) -> None:
        self.running = running
        self.place = running.place
        self.admin = admin
        self.user = user
        self.targets = targets

    async def place_app(self, name: str, *, cpu: str = "100m", replicas: int = 1, **placement: Any) -> None:
        """A Deployment and its Placement, made by alice."""
        await self.user.create(DEPLOYMENTS, worlds.deployment(name, cpu=cpu, replicas=replicas))
        await self.user.create(PLACEMENTS, worlds.placement(name, **placement))

    async def placement(self, name: str) -> dict[str, Any]:
        return await self.user.get(PLACEMENTS, name, worlds.NAMESPACE)

    async def status(self, name: str) -> dict[str, Any]:
        return (await self.placement(name)).get("status") or {}

    async def decision(self, name: str) -> dict[str, Any]:
        """The PlacementDecision's status; empty while there is none."""
        try:
            return (await self.user.get(DECISIONS, name, worlds.NAMESPACE)).get("status") or {}
        except ApiError as error:
            if error.not_found:
                return {}
            raise

    async def chosen(self, name: str) -> list[str]:
        """The names of the targets that are selected."""
        return [each["target"]["name"] for each in (await self.decision(name)).get("selected", ())]

    async def bindings(self) -> list[dict[str, Any]]:
        return (await self.user.list(BINDINGS, worlds.NAMESPACE)).items

    async def placed(self, name: str) -> list[str]:
        """The target clusters in which the Deployment is, in whichever namespace, as they say themselves."""
        found = []
        for target, client in self.targets.items():
            page = await client.list(DEPLOYMENTS, field_selector=f"metadata.name={name}")
            found += [target] * len(page.items)
        return found

    async def is_only_in(self, name: str, target: str) -> bool:
        """Whether the Deployment is in this target cluster and in no other."""
        return await self.placed(name) == [target]

    async def uid(self, target: str, name: str) -> tuple[str, int]:
        """Uid and generation of the Deployment in a target: the same as long as nobody made it anew or changed it."""
        metadata = (await self.targets[target].get(DEPLOYMENTS, name, worlds.NAMESPACE))["metadata"]
        return metadata["uid"], metadata["generation"]

    async def reservations(self) -> dict[str, dict[str, float]]:
        """What is reserved, by key."""
        bus, store = await connect("e2e", Settings(nats_url=self.place.nats))
        try:
            entries = await Table(store, RESERVATIONS).entries()
            return {entry.key: entry.value.resources for entry in entries if entry.value.resources}
        finally:
            await bus.close()

    async def delete_all_streams(self) -> None:
        """Take everything away that NATS keeps."""
        client = await nats.connect(self.place.nats)
        try:
            for stream in await client.jetstream().streams_info():
                await client.jetstream().delete_stream(stream.config.name)
        finally:
            await client.close()

    async def ready(self, name: str) -> bool:
        return (await self.status(name)).get("phase") == "Ready"


@asynccontextmanager
async def running_system(folder: Path, world: dict[str, Any], **plan: Any) -> AsyncIterator[System]:
    """Everything as separate processes over a world."""
    file = worlds.write_world(folder / "world.yaml", world)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(up(Plan(data=folder / "data", world=file, **plan)))
        open_client = stack.enter_async_context

        def client(path: str) -> Client:
            return Client(load_kubeconfig(Path(path)), timeout=20)

        admin = await open_client(client(running.place.kubeconfig))
        user = await open_client(client(running.place.users[worlds.USER]))
        targets = {name: await open_client(client(path)) for name, path in running.place.targets.items()}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
        await user.create(NAMESPACES, namespace)
        yield System(running, admin, user, targets)

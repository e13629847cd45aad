"""A sandbox with two teams' workspaces, a platform's and target clusters, and what tests do and look at there."""

import asyncio
import base64
import contextlib
import dataclasses
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from services.binding.binder import Binder
from services.sandbox.run import Ready, serve
from services.sandbox.wire.http import Request, Response
from services.sandbox.world.world import Target as SandboxTarget
from services.sandbox.world.world import World as SandboxWorld
from shared.broker.bus import Retry
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table, View
from shared.broker.tokens import join
from shared.hub.names import CLAIM_ANNOTATION, binding_name
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.auth.kubeconfig import Credentials, load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, CRDS, DEPLOYMENTS, NAMESPACES, SECRETS, SERVICES, Resource
from shared.model.refs import Head, PlacementRef
from shared.model.request import HeadEntry
from shared.model.target import ApiKind, KubeconfigRef, Target, Terms
from shared.pipeline.buckets import BUCKETS, HEADS, INVENTORY
from shared.pipeline.messages import Assigned, Bound
from tests.support.client import if_there
from tests.support.manifests import deployment, obj, placement
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
BOUND = 30.0  # seconds that a test waits for a condition at most
_SOON = 0.01  # seconds

PLATFORM = "root:platform"
TEAM = "root:team"
RIVAL = "root:rival"
KINDS = (
    "clusterrequests",
    "placementbindings",
    "placementdecisions",
    "placementoverrides",
    "placementpolicies",
    "placementquotas",
    "placements",
    "policyexceptions",
    "synctargets",
    "workloadkinds",
)


@functools.cache
def definitions() -> tuple[dict[str, Any], ...]:
    """Of the kinds that workers write or follow."""
    return tuple(yaml.safe_load((ROOT / "deploy" / "crds" / f"{name}.yaml").read_text()) for name in KINDS)


Tap = Callable[[Request], Awaitable[None]]


class Scene:
    """What the tests do and look at."""

    def __init__(self, ready: Ready, hub: Client, store: MemoryStore) -> None:
        self.ready = ready
        self.on(hub, TEAM, PLATFORM)
        self.store = store
        self.targets: dict[str, Client] = {}
        self.bound: list[Bound] = []
        self.inventory: View[Target] | None = None
        self.ahead = 0.0
        self.attempt = 0
        self.logins: dict[str, Credentials] = {}  # of users that are known already

    def on(self, hub: Client, team: str, platform: str) -> None:
        """Be on this hub, the team and its provider in these workspaces."""
        self.hub, self.home, self.provider = hub, team, platform
        self.team, self.platform = hub.cluster(team), hub.cluster(platform)

    def login(self, user: str) -> Credentials:
        """Somebody's credentials on the hub; they may do nothing there."""
        if user in self.logins:
            return self.logins[user]
        token = self.ready.sandbox.add_user(user)
        return dataclasses.replace(load_kubeconfig(self.ready.kubeconfigs["admin"]), token=token)

    def clock(self) -> float:
        """Time goes on by itself, and by as much as a test adds to `ahead`."""
        return time.time() + self.ahead

    async def place(self, name: str = "web", workspace: str | None = None, **spec: Any) -> PlacementRef:
        workspace = self.home if workspace is None else workspace
        await self.hub.cluster(workspace).create(PLACEMENTS, placement(name, **spec))
        return PlacementRef(workspace=workspace, namespace="shop", name=name)

    async def decide(
        self, ref: PlacementRef, *targets: str, replicas: int | Mapping[str, int] | None = None, digest: str = ""
    ) -> Head:
        """Write a decision for the next attempt, as the decision worker does."""
        self.attempt += 1
        client = self.hub.cluster(ref.workspace)
        selected: list[dict[str, Any]] = [
            {
                "target": {"workspace": self.provider, "name": name},
                **({} if replicas is None else {"replicas": replicas if isinstance(replicas, int) else replicas[name]}),
            }
            for name in targets
        ]
        decided_at = datetime.fromtimestamp(self.clock(), UTC).isoformat()
        status = {"attempt": self.attempt, "selected": selected, "decidedAt": decided_at, "inputDigest": digest}
        body = obj("PlacementDecision", DECISIONS.api_version, name=ref.name, namespace=ref.namespace, status=status)
        await client.apply(DECISIONS, body, force=True)
        head = await client.get(PLACEMENTS, ref.name, ref.namespace)
        found = Head(uid=head["metadata"]["uid"], generation=1, attempt=self.attempt)
        await Table(self.store, HEADS).put(
            join(ref.workspace, ref.namespace, ref.name), HeadEntry(head=found, digest=str(self.attempt))
        )
        return found

    def assigned(self, ref: PlacementRef, head: Head, target: str = "east", **more: Any) -> Assigned:
        return Assigned(placement=ref, head=head, target=f"{self.provider}/{target}", **more)

    async def binding(self, ref: PlacementRef, target: str = "east") -> dict[str, Any] | None:
        client = self.hub.cluster(ref.workspace)
        return await if_there(client.get(BINDINGS, binding_name(ref.name, f"{self.provider}/{target}"), ref.namespace))

    async def in_target(
        self, resource: Resource = DEPLOYMENTS, name: str = "web", target: str = "east"
    ) -> dict[str, Any] | None:
        return await if_there(self.targets[target].get(resource, name, "shop"))

    async def managed(self, target: str = "east") -> set[str]:
        """Names of all that Moorage keeps in a target, by kind."""
        found = set()
        for resource in (DEPLOYMENTS, SERVICES, CONFIGMAPS, SECRETS):
            page = await self.targets[target].list(resource, label_selector="placement.moorage.io/managed=true")
            found |= {f"{resource.kind} {item['metadata']['name']}" for item in page.items}
        return found

    async def config(self, name: str = "settings", **data: str) -> None:
        await self.team.create(CONFIGMAPS, obj("ConfigMap", name=name, data=data or {"key": "value"}))

    def tap(self, before: Tap | None = None, after: Tap | None = None) -> None:
        """Have a look at every request from now on, before and after it is handled."""
        sandbox = self.ready.sandbox
        handle = sandbox.handle

        async def tapped(request: Request) -> Response:
            if before is not None:
                await before(request)
            response = await handle(request)
            if after is not None:
                await after(request)
            return response

        sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request

    def count_requests(self, cluster: str) -> list[str]:
        """The requests that a cluster gets from now on, as they come."""
        seen: list[str] = []

        async def count(request: Request) -> None:
            if request.path.startswith(f"/clusters/{cluster}/"):
                seen.append(f"{request.method} {request.path}")

        self.tap(before=count)
        return seen

    async def use_token(self, target: str, token: str) -> None:
        """Give the SyncTarget's kubeconfig another token."""
        config = yaml.safe_load(self.ready.kubeconfigs[f"target-{target}"].read_text())
        config["users"][0]["user"]["token"] = token
        await self.use_kubeconfig(target, yaml.safe_dump(config).encode())

    async def use_kubeconfig(self, target: str, content: bytes) -> None:
        data = {"kubeconfig": base64.b64encode(content).decode()}
        await self.platform.merge_patch(SECRETS, target, {"data": data}, "default")

    async def agree(self, target: str = "east", apis: tuple[ApiKind, ...] = (), **terms: Any) -> None:
        """Have the owner of a target decide these terms, and all binders see that, and what `apis` it serves."""
        key = join(self.provider, target)
        table = Table(self.store, INVENTORY)
        entry = await table.get(key)
        assert entry is not None
        revision = await table.put(key, msgspec.structs.replace(entry.value, terms=Terms(**terms), apis=apis))
        assert self.inventory is None or await self.inventory.reached(revision, BOUND)

    async def claim(self, workspace: str | None, name: str = "shop", target: str = "east") -> None:
        """Make a namespace in a target, as its owner does, for a workspace or for nobody."""
        namespace = obj("Namespace", name=name, namespace="")
        if workspace is not None:
            namespace["metadata"]["annotations"] = {CLAIM_ANNOTATION: workspace}
        await self.targets[target].create(NAMESPACES, namespace, field_manager="owner")

    async def withdraw(self, target: str, *, from_hub: bool) -> None:
        """Take a target out of the inventory, or its SyncTarget off the hub."""
        if from_hub:
            await self.platform.delete(SYNCTARGETS, target)
        else:
            await Table(self.store, INVENTORY).delete(join(self.provider, target))

    async def until(self, ref: PlacementRef, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The Placement's status as soon as a condition holds of it."""

        async def look() -> dict[str, Any]:
            found = await self.hub.cluster(ref.workspace).get(PLACEMENTS, ref.name, ref.namespace)
            return found.get("status") or {}

        status: dict[str, Any] = await until(look, holds=holds, within=BOUND)
        return status

    async def workload(self, workspace: str | None = None, **more: Any) -> dict[str, Any]:
        workspace = self.home if workspace is None else workspace
        return await self.hub.cluster(workspace).create(DEPLOYMENTS, deployment(**{"replicas": 2, **more}))

    async def insist(self, binder: Binder, message: Assigned) -> Bound | None:
        """Deliver a message until it is settled, as the bus would, but soon."""
        async with asyncio.timeout(BOUND):
            while True:
                try:
                    return await binder.bind(message)
                except Retry:
                    await asyncio.sleep(_SOON)
                except ApiError as error:
                    if not (error.conflict or error.already_exists):
                        raise


@contextlib.asynccontextmanager
async def opened(directory: Path, *, tls: bool = False) -> AsyncIterator[Scene]:
    """A scene, its servers running within the block; with `tls` for kubectl, which does not log in without."""
    spec = SandboxWorld(
        workspaces=[PLATFORM, TEAM, RIVAL],
        targets=[SandboxTarget("east"), SandboxTarget("west"), SandboxTarget("bare", lacks=["apps/v1"])],
        delay=0.01,
    )
    async with serve(spec, "127.0.0.1", 0, directory, tls=tls) as ready:
        admin = load_kubeconfig(ready.kubeconfigs["admin"])
        async with Client(admin) as hub, contextlib.AsyncExitStack() as stack:
            store = MemoryStore()
            await store.provision(BUCKETS)
            scene = Scene(ready, hub, store)
            for workspace in (PLATFORM, TEAM, RIVAL):
                for definition in definitions():
                    await hub.cluster(workspace).create(CRDS, definition)
            for workspace in (TEAM, RIVAL):
                await hub.cluster(workspace).create(NAMESPACES, obj("Namespace", name="shop", namespace=""))
            for name in ("east", "west", "bare"):
                await offer(scene, name)
                scene.targets[name] = await stack.enter_async_context(
                    Client(load_kubeconfig(ready.kubeconfigs[f"target-{name}"]))
                )
            yield scene


async def offer(scene: Scene, name: str) -> None:
    """A SyncTarget with its kubeconfig, on the hub and in the inventory."""
    content = base64.b64encode(scene.ready.kubeconfigs[f"target-{name}"].read_bytes()).decode()
    with contextlib.suppress(ApiError):
        await scene.platform.create(NAMESPACES, obj("Namespace", name="default", namespace=""))
    secret = obj("Secret", name=name, namespace="default", data={"kubeconfig": content})
    await scene.platform.create(SECRETS, secret)
    target = {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": "SyncTarget",
        "metadata": {"name": name, "labels": {"region": name}},
        "spec": {"kubeconfigSecretRef": {"namespace": "default", "name": name}},
    }
    made = await scene.platform.create(SYNCTARGETS, target)
    entry = Target(
        workspace=scene.provider,
        name=name,
        uid=made["metadata"]["uid"],
        labels={"region": name},
        ready=True,
        kubeconfig=KubeconfigRef(namespace="default", name=name),
    )
    await Table(scene.store, INVENTORY).put(join(scene.provider, name), entry)


@contextlib.asynccontextmanager
async def follow(scene: Scene, *buckets: Any) -> AsyncIterator[list[View[Any]]]:
    async with asyncio.TaskGroup() as tasks:
        views = [Table(scene.store, bucket).follow() for bucket in buckets]
        running = [tasks.create_task(view.run()) for view in views]
        for view in views:
            await view.synced.wait()
        yield views
        for task in running:
            task.cancel()

"""A kcp, or the sandbox in its place, with all workers, made by the commands of docs/kcp.md as they stand."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from services import PIPELINE
from shared.api.generate.rights import WORKERS
from shared.broker.nats.server import NatsServer
from shared.hub.resources import PLACEMENTS
from shared.kube.apis import discover
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, DEPLOYMENTS, NAMESPACES, Resource
from tests.e2e.pages import ROOT, blocks
from tests.support import kcp, perimeter, waiting
from tests.support.apiserver import ADMIN
from tests.support.client import if_there
from tests.support.grants import grant
from tests.support.kcp import add_workspace
from tests.support.manifests import definition, deployment, obj, placement
from tests.support.process import BIN, Process, process

BOUND = 180.0  # seconds that anything may take on a busy machine
STARTING = 600.0  # seconds for the whole page, with the start of all workers
NAMESPACE = "shop"
ACME, TEAM, PLATFORM = "root:acme", "root:acme:team", "root:acme:platform"
ALICE, BOB, MALLORY = "alice", "bob", "mallory"
USERS = {ALICE: ["acme"], BOB: ["guests"], MALLORY: [], **{f"worker-{name}": [f"moorage:{name}"] for name in WORKERS}}
EVERYTHING = ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]})
BRISK = {
    **perimeter.ENVIRONMENT,
    "MOORAGE_LOG_FORMAT": "json",
    "MOORAGE_DENIED_TTL_SECONDS": "1",
    "MOORAGE_ABSENT_RETRY_SECONDS": "1",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_VANISHED_SECONDS": "5",
}
WORLD = {
    "users": [{"name": name, "groups": groups} for name, groups in USERS.items()],
    "targets": [{"name": "east", "nodes": 1, "capacity": {"cpu": "100", "memory": "400Gi", "pods": "500"}}],
    "delay": 0.1,
}

until = partial(waiting.until, within=BOUND, pause=0.1)


@dataclass(frozen=True)
class Server:
    """What serves the hub: a kubeconfig per user, leading to the root of the tree, and how it is started anew."""

    kubeconfigs: Mapping[str, Path]
    restart: Callable[[], None] | None = None


@dataclass(frozen=True)
class Consumer:
    """Somebody in a workspace that uses Moorage, and in a namespace that is no other workspace's in the target."""

    client: Client
    namespace: str = NAMESPACE

    async def place(self, name: str, annotations: Mapping[str, str] | None = None) -> float:
        """Write a Deployment and its Placement; the moment before the latter, of `time.perf_counter`."""
        await self.client.create(DEPLOYMENTS, deployment(name, namespace=self.namespace, cpu="100m"))
        made = placement(name, namespace=self.namespace, targets={"workspaces": {"paths": [PLATFORM]}})
        made["metadata"]["annotations"] = dict(annotations or {})
        began = time.perf_counter()
        await self.client.create(PLACEMENTS, made)
        return began

    async def status(self, name: str) -> dict[str, Any]:
        """The status of a Placement; empty while there is none."""
        return (await self.client.get(PLACEMENTS, name, self.namespace)).get("status") or {}

    async def ready(self, name: str) -> None:
        """Until a Placement is Ready."""
        await until(lambda: self.status(name), f"{name} is Ready", holds=lambda each: each.get("phase") == "Ready")

    async def gone(self, name: str) -> None:
        """Until a Placement is not there any more."""

        async def absent() -> bool:
            return await if_there(self.client.get(PLACEMENTS, name, self.namespace)) is None

        await until(absent, f"{name} is gone")

    async def serve_deployments(self) -> None:
        """Have the workspace serve Deployments, as the page does, and make the namespace.

        kcp lets them be listed before it says that they are served, which takes it 5 s longer.
        """
        made = definition("apps", "Deployment", "v1")
        made["spec"]["versions"][0]["subresources"] = {"status": {}}
        await self.client.create(CRDS, made)
        await until(lambda: may_list(self.client, DEPLOYMENTS), "Deployments can be listed")
        await until(self._serves_deployments, "Deployments are served")
        await self.client.create(NAMESPACES, obj("Namespace", name=self.namespace, namespace=""))

    async def _serves_deployments(self) -> bool:
        served = await discover(self.client)
        return any((each.group, each.kind) == (DEPLOYMENTS.group, DEPLOYMENTS.kind) for each in served.kinds)


class Tree:
    """The running system. `admin` may do all, others of the `clients` what they are given; `east` is the target."""

    def __init__(self, server: Server, clients: Mapping[str, Client], east: Client, running: Process) -> None:
        self.server = server
        self.clients = clients
        self.admin = clients[ADMIN]
        self.east = east
        self.running = running

    async def run(self, *words: str) -> str:
        """A command of the administrator, which succeeds; what it says."""
        async with process(["moorage", *words, "--kubeconfig", str(self.server.kubeconfigs[ADMIN])], os.environ) as it:
            assert await it.ends(BOUND) == 0, it.output
            return it.output

    async def consumer(self, name: str) -> Consumer:
        """The administrator in a new workspace below `root:acme` that has bound the APIs and serves Deployments."""
        path = f"{ACME}:{name}"
        await add_workspace(self.admin.cluster(ACME), name)
        await self.run("bind", "--workspace", path)
        made = Consumer(self.admin.cluster(path), name)
        await made.serve_deployments()
        return made

    def team(self, user: str = ADMIN) -> Consumer:
        """Somebody in the workspace of the page's team."""
        return Consumer(self.clients[user].cluster(TEAM))

    async def entitle(self, user: str, workspace: str) -> None:
        """Make somebody administrator of a workspace."""
        await grant(self.admin.cluster(workspace), user, *EVERYTHING)

    async def placed(self, name: str, namespace: str = NAMESPACE) -> dict[str, Any] | None:
        """The Deployment as it is in the target cluster."""
        return await if_there(self.east.get(DEPLOYMENTS, name, namespace))

    async def cleared(self, name: str, namespace: str = NAMESPACE) -> None:
        """Until a Deployment is not in the target cluster any more."""

        async def absent() -> bool:
            return await self.placed(name, namespace) is None

        await until(absent, f"{name} is out of the target")


@asynccontextmanager
async def tree(name: str, folder: Path, settings: Mapping[str, str] = BRISK) -> AsyncIterator[Tree]:
    """Everything, on a hub of this name (`sandbox` or `kcp`). Raises NoKcp."""
    async with AsyncExitStack() as stack:
        sandbox = await _sandbox(stack, folder)
        server = Server(sandbox) if name == "sandbox" else await _kcp(stack, folder)
        nats = await stack.enter_async_context(NatsServer(folder / "nats"))
        desk = _desk(folder / "desk", server, sandbox["target-east"])
        env = {**os.environ, **settings, "MOORAGE_NATS_URL": nats.url}
        env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(desk), "KUBECONFIG": str(desk / "kubeconfig")}
        running = await stack.enter_async_context(process(["bash", "-euc", _script(name)], env, cwd=desk, leads=True))
        stack.push_async_callback(_ended, running, folder / "workers.log")
        await _done(running)

        async def client(path: Path) -> Client:
            return await stack.enter_async_context(Client(load_kubeconfig(path), timeout=30))

        clients = {user: await client(server.kubeconfigs[user]) for user in (ADMIN, ALICE, BOB, MALLORY)}
        yield Tree(server, clients, await client(sandbox["target-east"]), running)


async def _sandbox(stack: AsyncExitStack, folder: Path) -> dict[str, Path]:
    (folder / "world.yaml").write_text(yaml.safe_dump(WORLD))
    command = ["moorage", "sandbox", "--port", "0", "--world", str(folder / "world.yaml"), "--data", str(folder)]
    running = await stack.enter_async_context(process(command, os.environ))
    said = await running.record(lambda record: "kubeconfigs" in record, BOUND)
    return {name.removeprefix("user-"): Path(path) for name, path in said["kubeconfigs"].items()}


async def _kcp(stack: AsyncExitStack, folder: Path) -> Server:
    starting = kcp.kcp(folder, list(USERS.items()))
    running = await asyncio.to_thread(starting.__enter__)
    stack.callback(starting.__exit__, None, None, None)

    def restart() -> None:
        running.end()
        running.start()

    return Server({user: running.kubeconfig(user) for user in (ADMIN, *USERS)}, restart)


def _desk(folder: Path, server: Server, target: Path) -> Path:
    """The folder in which somebody types: with the kubeconfigs that the page speaks of."""
    folder.mkdir()
    shutil.copy(server.kubeconfigs[ADMIN], folder / "kubeconfig")
    shutil.copy(target, folder / "east.kubeconfig")
    for worker in WORKERS:
        shutil.copy(server.kubeconfigs[f"worker-{worker}"], folder / f"{worker}.kubeconfig")
    return folder


TYPED = '{"message": "typed"}'


def _script(name: str) -> str:
    """All commands of the page in one shell, which stays with the workers until it is told to end."""
    commands = "".join(blocks((ROOT / "docs" / "kcp.md").read_text()))
    if name == "sandbox":  # it has no admission policies: what they do, it does by itself
        commands = commands.replace("moorage install kcp", "moorage install kcp --without-admission")
    ending = "trap 'trap - EXIT TERM; kill $(jobs -p) 2>/dev/null || true; wait' EXIT; trap 'exit 0' TERM"
    return f"{ending}\n{commands}\necho '{TYPED}'\nwait"


async def _done(running: Process) -> None:
    """Until all of the page was typed, and all workers are at work."""
    await running.record(lambda record: record.get("message") == "typed", STARTING)

    def ready() -> bool:
        return sum(record.get("message") == "ready" for record in running.records) >= len(PIPELINE)

    await until(ready, "all workers are ready")


async def _ended(running: Process, log: Path) -> None:
    """End the workers; what they said is kept beside, for whoever looks for the cause of a failure."""
    try:
        if running.child.returncode is None:
            running.terminate()
            await running.ends(BOUND)
    finally:
        await asyncio.to_thread(log.write_text, running.output)


async def may_list(client: Client, resource: Resource) -> bool:
    """Whether this is served and allowed by now: authorizers read rules from caches."""
    try:
        await client.list(resource)
    except ApiError as error:
        if not (error.forbidden or error.not_found):
            raise
        return False
    return True

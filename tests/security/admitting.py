"""A hub with admission, on the sandbox and on a real kube-apiserver, and who writes there by plain HTTP."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from services.sandbox.run import serve
from services.sandbox.world.world import Person, World
from shared.hub.names import APPLIED_FINALIZER, REQUESTER_ANNOTATION
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS
from tests.security.places import EVERYBODY
from tests.support.actors import Actor
from tests.support.kubernetes import Kubernetes, swept_hub
from tests.support.manifests import API_VERSION, obj, placement
from tests.support.scene import definitions
from tests.support.waiting import until

HUB = "root:hub"
RBAC = "rbac.authorization.k8s.io"
API = "/apis/placement.moorage.io/v1alpha1/namespaces/shop"
FORGED = json.dumps({"username": "root", "groups": ["system:masters"]})
POINTER = "/metadata/annotations/placement.moorage.io~1requester"
ALONE = "written by Moorage alone"
SELECTED = {"selected": [{"target": {"workspace": "root:rich", "name": "huge"}}]}


class Hub:
    """Alice, who makes Placements; mallory, who may write them; the administrator, and workers by name."""

    def __init__(self, actors: dict[str, Actor]) -> None:
        self.actors = actors
        self.admin, self.alice, self.mallory = actors["admin"], actors["alice"], actors["mallory"]

    async def place(self, name: str) -> str:
        """A Placement of alice's; its path."""
        await self.alice.ok("POST", f"{API}/placements", placement(name))
        assert await self.requester(name) == "alice"
        return f"{API}/placements/{name}"

    async def recorded(self, name: str) -> str:
        found = await self.admin.ok("GET", f"{API}/placements/{name}")
        return str(found["metadata"]["annotations"][REQUESTER_ANNOTATION])

    async def requester(self, name: str) -> str:
        return str(json.loads(await self.recorded(name))["username"])

    async def decided(self, name: str) -> str:
        """A PlacementDecision as the worker writes it; its path."""
        body = obj("PlacementDecision", API_VERSION, name=name, status={"selected": [], "decisions": []})
        await self.actors["decision"].ok("POST", f"{API}/placementdecisions", body)
        return f"{API}/placementdecisions/{name}"

    async def bound(self, name: str) -> str:
        """A PlacementBinding as the worker writes it; its path."""
        await self.actors["binding"].ok("POST", f"{API}/placementbindings", binding(name))
        return f"{API}/placementbindings/{name}"


def binding(name: str) -> dict[str, Any]:
    spec = {"placementRef": {"name": name}, "target": {"workspace": "root:own", "name": "small"}}
    made = obj("PlacementBinding", API_VERSION, name=name, spec=spec)
    made["metadata"]["finalizers"] = [APPLIED_FINALIZER]
    return made


def annotated(document: dict[str, Any], value: str = FORGED) -> dict[str, Any]:
    """The object with a requester that somebody wrote by hand."""
    return {**document, "metadata": {**document["metadata"], "annotations": {REQUESTER_ANNOTATION: value}}}


def entry(name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]


@contextlib.asynccontextmanager
async def on_the_sandbox(folder: Path) -> AsyncIterator[dict[str, Actor]]:
    world = World(workspaces=[HUB], users=[Person(name, [], {HUB: "admin"}) for name in EVERYBODY], serves=[])
    async with serve(world, "127.0.0.1", 0, folder, tls=False) as ready, aiohttp.ClientSession() as session:
        async with Client(load_kubeconfig(ready.kubeconfigs["admin"])) as admin:
            for definition in definitions():
                await admin.cluster(HUB).create(CRDS, definition)
        configs = {name.removeprefix("user-"): path.read_text() for name, path in ready.kubeconfigs.items()}
        yield {name: Actor(session, yaml.safe_load(text), HUB) for name, text in configs.items()}


@contextlib.asynccontextmanager
async def on_kubernetes(servers: Kubernetes) -> AsyncIterator[dict[str, Actor]]:
    async with swept_hub(servers.hub), aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        configs = {name: path.read_text() for name, path in servers.hub.kubeconfigs.items()}
        actors = {name: Actor(session, yaml.safe_load(text)) for name, text in configs.items()}
        subject = {"kind": "Group", "name": "everybody", "apiGroup": RBAC}
        role = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": RBAC}
        everybody = {"metadata": {"name": "everybody"}, "roleRef": role, "subjects": [subject]}
        bindings = f"/apis/{RBAC}/v1/clusterrolebindings"
        await actors["admin"].ok("POST", bindings, everybody)

        async def rights_hold() -> bool:
            return (await actors["alice"].send("GET", f"{API}/placements"))[0] == 200

        try:
            await until(rights_hold, within=60)
            yield actors
        finally:
            await actors["admin"].send("DELETE", f"{bindings}/everybody")


async def admits(hub: "Hub") -> bool:
    """Whether Placements can be made: admission learns of a kind some seconds after it is served."""
    status, _ = await hub.admin.send("POST", f"{API}/placements?dryRun=All", placement("trial"))
    return status < 300

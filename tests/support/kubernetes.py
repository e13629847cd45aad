"""A hub and a target on real API servers, which tests share, and which are swept in between."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, POLICIES, SYNCTARGETS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICES,
    Resource,
)
from tests.support import apiserver, servers
from tests.support.apiserver import ADMIN, GARBAGE, ApiServer
from tests.support.client import if_there
from tests.support.process import BIN

RBAC = "rbac.authorization.k8s.io"
OF_THE_SERVER = ("default", "kube-node-lease", "kube-public", "kube-system")
WORKERS = "moorage-system"
TESS = "tess"
"""A user without rights."""
PLACED = (
    DEPLOYMENTS,
    CONFIGMAPS,
    SECRETS,
    SERVICES,
    Resource(RBAC, "v1", "rolebindings", kind="RoleBinding"),
    Resource(RBAC, "v1", "roles", kind="Role"),
)
HELD = (PLACEMENTS, DECISIONS, BINDINGS)  # what finalizers of ours may hold


@dataclass(frozen=True)
class Kubernetes:
    """A hub on which everything is installed, and a target; both with the same users."""

    hub: ApiServer
    target: ApiServer


@contextmanager
def kubernetes(folder: Path, users: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Kubernetes]:
    """Both servers, for as long as the block runs; skips, and says why, where there are none."""
    binaries = servers.find()
    if binaries is None:
        reason = f"no kube-apiserver in {servers.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    # The threads live as long as the servers: a child ends with the thread that started it.
    with ThreadPoolExecutor(2) as both, apiserver.servers(binaries, folder) as running:
        # What runs pods is gone once the garbage collector says so.
        start = partial(running.apiserver, users=users)
        hub, target = both.map(lambda name, of: start(name, controllers=of), ("hub", "target"), ((), [GARBAGE]))
        install = [BIN / "moorage", "install", "kubernetes", "--kubeconfig", hub.kubeconfigs[ADMIN]]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, timeout=120)
        yield Kubernetes(hub, target)


@asynccontextmanager
async def swept_hub(server: ApiServer) -> AsyncIterator[Client]:
    """The administrator's client of a hub where nobody has done anything yet."""
    async with Client(load_kubeconfig(server.kubeconfigs[ADMIN]), timeout=20) as client:
        for resource in HELD:
            for each in (await client.list(resource)).items:
                name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
                await client.delete(resource, name, namespace)  # before: what lives keeps its finalizer
                await if_there(client.merge_patch(resource, name, {"metadata": {"finalizers": None}}, namespace))
        await _sweep(client, *PLACED, kept=(WORKERS,))
        for resource in (SYNCTARGETS, POLICIES):
            await _delete_all(client, resource)
        for resource in (CLUSTERROLEBINDINGS, CLUSTERROLES):
            for each in (await client.list(resource)).items:
                if each["metadata"]["name"].startswith(f"{TESS}-"):  # as `grant` names them
                    await client.delete(resource, each["metadata"]["name"])
        yield client


@asynccontextmanager
async def swept_target(server: ApiServer) -> AsyncIterator[Client]:
    """The administrator's client of a target where nothing was ever placed."""
    async with Client(load_kubeconfig(server.kubeconfigs[ADMIN]), timeout=20) as client:
        await _sweep(client, *PLACED)
        yield client


async def _sweep(client: Client, *resources: Resource, kept: Sequence[str] = ()) -> None:
    """Delete what tests made: all in namespaces of their own, with these, and what runs in those of the server."""
    for each in (await client.list(NAMESPACES)).items:
        name = each["metadata"]["name"]
        if name in OF_THE_SERVER:
            await _delete_all(client, DEPLOYMENTS, name)
            if name == "default":
                await _delete_all(client, SECRETS, name)
        elif name not in kept:
            for resource in resources:
                await _delete_all(client, resource, name)
            await _end(client, name)


async def _delete_all(client: Client, resource: Resource, namespace: str = "") -> None:
    await client.request("DELETE", resource.path(namespace))


async def _end(client: Client, namespace: str) -> None:
    """What the controller of namespaces does once one is empty: it does not run here."""
    await client.delete(NAMESPACES, namespace)
    found: dict[str, Any] = await client.get(NAMESPACES, namespace)
    found["spec"]["finalizers"] = []
    await client.replace(NAMESPACES, found, subresource="finalize")

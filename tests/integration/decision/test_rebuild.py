"""Reservations from what real API servers say was decided."""

import asyncio
from pathlib import Path

import pytest

from services.decision.completeness import MARKER
from services.decision.kubernetes import Decisions
from services.decision.ledger import key_of
from services.decision.rebuild import rebuild
from services.sandbox.run import serve
from services.sandbox.wire.faults import Fault
from services.sandbox.world.world import World
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.names import ATTEMPT_ANNOTATION
from shared.hub.resources import BINDINGS, DECISIONS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.refs import PlacementRef
from shared.model.target import Workspace
from shared.pipeline.buckets import BUCKETS, RESERVATIONS, WORKSPACES
from shared.pipeline.runtime import Runtime
from shared.process.settings import Settings

BOUND = 60.0
BINDING = {
    "apiVersion": BINDINGS.api_version,
    "kind": BINDINGS.kind,
    "metadata": {"name": "web-west", "namespace": "apps", "annotations": {ATTEMPT_ANNOTATION: "2"}},
    "spec": {
        "placementRef": {"name": "web", "namespace": "apps", "uid": "u"},
        "target": {"workspace": "root:platform", "name": "west"},
        "reserved": {"cpu": 1.5},
    },
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}}
SELECTED = {"target": {"workspace": "root:platform", "name": "east"}, "reserved": {"cpu": 2.5}}


@pytest.mark.parametrize(
    ("known", "patience", "lags"),
    [
        pytest.param(("root", "root:nowhere", "root:team"), 0.0, 0, id="one workspace refuses us"),
        pytest.param(("root", "root:team"), 60.0, 2, id="an index has not heard of a workspace for a while"),
    ],
)
async def test_reservations_are_rebuilt_although(
    tmp_path: Path, known: tuple[str, ...], patience: float, lags: int
) -> None:
    """kcp says the same of a workspace that is not there and of one that its index does not know yet."""
    async with (
        serve(World(workspaces=["root:team"], serves=[]), "127.0.0.1", 0, tmp_path) as sandbox,
        Client(load_kubeconfig(sandbox.kubeconfigs["admin"])) as client,
    ):
        hub = Hub(client, "kcp")
        team = hub.at("root:team")
        for resource in RESOURCES:
            await team.apply(CRDS, crd(resource))
        await team.create(NAMESPACES, NAMESPACE)
        await team.create(
            DECISIONS,
            {
                "apiVersion": DECISIONS.api_version,
                "kind": DECISIONS.kind,
                "metadata": {"name": "web", "namespace": "apps"},
                "status": {"attempt": 3, "selected": [SELECTED]},
            },
        )
        await team.create(BINDINGS, BINDING)
        store = MemoryStore()
        await store.provision(BUCKETS)
        for path in known:
            await Table(store, WORKSPACES).put(join(path), Workspace(path=path, root=path == "root"))
        if lags:
            sandbox.sandbox.faults.add(Fault(kind="lag", cluster="root:team", times=lags))
        async with asyncio.timeout(BOUND), asyncio.TaskGroup() as tasks:
            runtime = Runtime(Settings(), MemoryBus(), store, tasks)
            await rebuild(runtime, Table(store, RESERVATIONS), Decisions(hub), patience=patience)
            await runtime.end()
    table = Table(store, RESERVATIONS)
    ref = PlacementRef(workspace="root:team", namespace="apps", name="web")
    kept = await table.get(key_of("root:platform/east", ref))
    assert kept is not None
    assert kept.value.resources == {"cpu": 2.5}
    assert kept.value.head.attempt == 3
    bound = await table.get(key_of("root:platform/west", ref))
    assert bound is not None, "what is bound and decided nowhere any more is there until it is removed"
    assert (bound.value.resources, bound.value.head.attempt) == ({"cpu": 1.5}, 2)
    assert await table.get(MARKER) is not None

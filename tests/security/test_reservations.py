"""Whoever empties the bucket of reservations, which any administrator of NATS can, gets no room given twice by it."""

import asyncio
from pathlib import Path

import pytest

from services.decision.completeness import MARKER, Completeness, Incomplete
from services.decision.kubernetes import Decisions
from services.decision.ledger import key_of
from services.decision.rebuild import keep_complete, rebuild
from services.sandbox.run import serve
from services.sandbox.world.world import World
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import DEPLOYMENTS
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef
from shared.model.target import Workspace
from shared.pipeline.buckets import RESERVATIONS, WORKSPACES
from shared.pipeline.runtime import Runtime
from shared.process.settings import Settings
from tests.security.test_garbage import decided
from tests.support import worlds
from tests.support.manifests import obj
from tests.support.together import together
from tests.support.values import head
from tests.support.waiting import until

BOUND = 60.0


async def test_a_bucket_that_is_purged_under_a_running_worker_is_rebuilt_before_anything_is_reserved(
    tmp_path: Path,
) -> None:
    async with (
        serve(World(workspaces=["root:team"], serves=[]), "127.0.0.1", 0, tmp_path) as sandbox,
        Client(load_kubeconfig(sandbox.kubeconfigs["admin"])) as client,
    ):
        hub = Hub(client, "kcp")
        decisions, ref = Decisions(hub), PlacementRef(workspace="root:team", namespace="apps", name="web")
        await decided(hub.at("root:team"), ref)
        store = MemoryStore()
        await Table(store, WORKSPACES).put(join("root"), Workspace(path="root", root=True))
        await Table(store, WORKSPACES).put(join("root:team"), Workspace(path="root:team"))
        table, completeness = Table(store, RESERVATIONS), Completeness(Table(store, RESERVATIONS))
        own = key_of("root:platform/east", ref)
        gone = PlacementRef(workspace="root:team", namespace="apps", name="gone")
        phantom = key_of("root:platform/east", gone)
        async with asyncio.timeout(BOUND), asyncio.TaskGroup() as tasks:
            runtime = Runtime(Settings(), MemoryBus(), store, tasks)
            await rebuild(runtime, table, decisions)
            await table.put(phantom, Reservation(placement=gone, head=head(), resources={"cpu": 1.0}))
            expected, since = await table.get(own), await completeness.since()
            view = await runtime.follow(RESERVATIONS)
            runtime.background(keep_complete(runtime, table, decisions, completeness), "keep complete")
            store.raw(RESERVATIONS)._last.clear()
            with pytest.raises(Incomplete):
                await completeness.check(since)

            async def rebuilt() -> bool:
                return await table.get(MARKER) is not None and phantom not in view.entries

            await until(rebuilt, "a complete bucket", within=BOUND)
            with pytest.raises(Incomplete):  # what was reserved before that does not count
                await completeness.check(since)
            await completeness.check(await completeness.since())
            found = await table.get(own)
            assert found is not None
            assert expected is not None
            assert found.value == expected.value
            await runtime.end()


async def test_a_tenant_whose_workload_shrinks_keeps_its_place_through_a_wipe_while_more_runs(tmp_path: Path) -> None:
    """The decision alone would say that two cores are free, where four are in use."""
    async with together(tmp_path, worlds.world(1, cpu="4", delay=0.01)) as system:
        ((target, cluster),) = system.targets.items()
        await system.place("web", worlds.deployment("web", replicas=4, cpu="1"))
        await system.reaches("web", "Ready")
        held = obj("Deployment", "apps/v1", name="web", namespace=worlds.NAMESPACE, spec={"replicas": 4})
        await cluster.apply(DEPLOYMENTS, held, field_manager="kubectl", force=True)  # nobody else makes it smaller
        await system.edit(DEPLOYMENTS, "web", {"replicas": 2})

        async def bound_smaller() -> bool:
            return (await system.binding("web"))["spec"].get("shrinksTo", {}).get("cpu") == 2.0

        await until(bound_smaller, "the binding is to shrink", within=BOUND)
        system.store.raw(RESERVATIONS)._last.clear()
        await until(lambda: Table(system.store, RESERVATIONS).get(MARKER), "a complete bucket", within=BOUND)
        assert await system.running(target) == 4.0
        assert await system.reserved(target) == 4.0
        await system.place("other", worlds.deployment("other", cpu="1"))
        await system.reaches("other", "Unschedulable")

"""What binding remembers of a target by its name, when another cluster stands behind the name."""

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from services.binding.binder import Binder
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble
from shared.broker.bus import Retry
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.names import SYSTEM_NAMESPACE, applyset_name
from shared.hub.targets import TargetClients
from shared.kube.errors import Unreachable
from shared.kube.resources import CONFIGMAPS, NAMESPACES
from shared.pipeline.buckets import INVENTORY
from tests.support.perimeter import BESIDE_US
from tests.support.scene import BOUND, PLATFORM, Scene

EAST = f"{PLATFORM}/east"
FAILURES = 2
"""After which a target is left alone."""


@pytest.fixture
async def reach(scene: Scene, new_binder: Callable[..., Binder]) -> AsyncIterator[Reach]:
    new_binder()
    assert scene.inventory is not None
    clients = TargetClients(Hub(scene.hub, "kcp"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    yield Reach(BindingSettings(breaker_failures=FAILURES), clients, scene.inventory, scene.clock)
    await clients.close()


async def stands(scene: Scene, cluster: str) -> None:
    """Have a cluster stand behind the name of target east, as discovery tells once it has found it there."""
    await scene.use_kubeconfig("east", scene.ready.kubeconfigs[f"target-{cluster}"].read_bytes())
    uid = (await scene.targets[cluster].get(NAMESPACES, "kube-system"))["metadata"]["uid"]
    table, key = Table(scene.store, INVENTORY), join(PLATFORM, "east")
    entry = await table.get(key)
    assert entry is not None
    revision = await table.put(key, msgspec.structs.replace(entry.value, cluster=uid))
    assert scene.inventory is not None
    assert await scene.inventory.reached(revision, BOUND)


async def silence() -> None:
    raise Unreachable("connection refused")


async def test_another_cluster_is_not_left_alone_for_the_silence_of_the_former(scene: Scene, reach: Reach) -> None:
    await stands(scene, "east")
    for _ in range(FAILURES):
        await reach.enter(EAST)
        with pytest.raises(Trouble):
            await reach.work(EAST, silence())
    with pytest.raises(Retry, match="is left alone"):
        await reach.enter(EAST)
    await stands(scene, "east")  # told again: it is the same
    with pytest.raises(Retry, match="is left alone"):
        await reach.enter(EAST)
    await stands(scene, "west")
    await reach.enter(EAST)


async def test_client_kinds_and_namespaces_are_of_the_cluster_that_stands_there_now(scene: Scene, reach: Reach) -> None:
    await stands(scene, "east")
    before = await reach.enter(EAST)
    assert await reach.enter(EAST) is before
    await stands(scene, "west")
    after = await reach.enter(EAST)
    assert after.client is not before.client
    assert after.mapper is not before.mapper
    assert after.held is not before.held


async def test_with_what_has_changed_all_that_is_on_record_of_the_former_cluster_is_made_in_the_other(
    scene: Scene, binder: Binder
) -> None:
    await stands(scene, "east")
    await scene.workload(container={"envFrom": [{"configMapRef": {"name": "settings"}}]})
    await scene.config(key="old")
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await stands(scene, "west")
    await scene.team.merge_patch(CONFIGMAPS, "settings", {"data": {"key": "new"}}, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    web, settings = await scene.in_target(target="west"), await scene.in_target(CONFIGMAPS, "settings", "west")
    binding = await scene.binding(ref)
    assert web is not None  # which has not changed
    assert settings is not None
    assert settings["data"] == {"key": "new"}
    assert binding is not None
    there = {each["metadata"]["uid"] for each in (web, settings)}
    assert {each["uid"] for each in binding["status"]["objects"]} == there
    parent = await scene.targets["west"].get(CONFIGMAPS, applyset_name(ref), SYSTEM_NAMESPACE)
    assert parent["metadata"]["labels"]

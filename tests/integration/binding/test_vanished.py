"""What is left in targets of a workspace that is gone with all its records."""

from collections.abc import AsyncIterator

import pytest

from services.binding.binder import Binder
from services.binding.records import Records
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.vanished import Cleanup
from services.sandbox.wire.faults import Fault
from shared.broker.bus import Retry
from shared.hub.hub import Hub
from shared.hub.resources import WORKSPACES
from shared.hub.targets import TargetClients
from shared.kube.errors import KubeError
from shared.kube.resources import CRDS
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.messages import Assigned
from tests.support.perimeter import BESIDE_US
from tests.support.scene import PLATFORM, RIVAL, TEAM, Scene, follow

ENV_FROM = {"container": {"envFrom": [{"configMapRef": {"name": "settings"}}]}}


@pytest.fixture
async def vanished(scene: Scene) -> AsyncIterator[Cleanup]:
    hub = Hub(scene.hub, "kcp")
    clients = TargetClients(hub, user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    async with follow(scene, INVENTORY) as (inventory,):
        yield Cleanup(Records(hub), Reach(BindingSettings(), clients, inventory, scene.clock))
    await clients.close()


@pytest.fixture
async def applied(scene: Scene, binder: Binder) -> Assigned:
    """The removal of a Placement that is applied in east, in a workspace that is still there."""
    await scene.config()
    await scene.workload(**ENV_FROM)
    ref = await scene.place()
    head = await scene.decide(ref, "east")
    await scene.insist(binder, scene.assigned(ref, head))
    assert await scene.managed() == {"Deployment web", "ConfigMap settings"}
    return scene.assigned(ref, head, remove=True, vanished=True)


async def drop(scene: Scene, workspace: str) -> None:
    await scene.hub.cluster("root").delete(WORKSPACES, workspace.rpartition(":")[2])


async def test_what_a_vanished_workspace_placed_is_removed(scene: Scene, vanished: Cleanup, applied: Assigned) -> None:
    await drop(scene, TEAM)
    for _ in range(2):  # it may be said again
        bound = await vanished.remove(applied)
        assert bound is not None
        assert (bound.phase, bound.vanished) == ("Removed", True)
        assert await scene.managed() == set()


async def test_what_others_placed_stays(scene: Scene, binder: Binder, vanished: Cleanup) -> None:
    await scene.agree(per_workspace=True)
    for workspace, name in ((TEAM, "web"), (RIVAL, "api")):
        await scene.workload(workspace, name=name)
        ref = await scene.place(name, workspace=workspace)
        await scene.insist(binder, scene.assigned(ref, head := await scene.decide(ref, "east")))
    await drop(scene, RIVAL)
    await vanished.remove(scene.assigned(ref, head, remove=True, vanished=True))
    assert await scene.managed() == {"Deployment web"}


@pytest.mark.parametrize("kind", ["403", "lag"])
async def test_nothing_is_removed_while_the_workspace_is_there(
    scene: Scene, vanished: Cleanup, applied: Assigned, kind: str
) -> None:
    assert await vanished.remove(applied) is None
    scene.ready.sandbox.faults.add(Fault(kind=kind, cluster=TEAM))  # type: ignore[arg-type]
    assert await vanished.remove(applied) is None
    assert len(await scene.managed()) == 2


@pytest.mark.parametrize("kind", ["500", "503", "expired-token", "unavailable"])
async def test_nothing_is_removed_while_the_hub_is_in_trouble(
    scene: Scene, vanished: Cleanup, applied: Assigned, kind: str
) -> None:
    await drop(scene, TEAM)
    scene.ready.sandbox.faults.add(Fault(kind=kind, cluster="root"))  # type: ignore[arg-type]
    with pytest.raises(KubeError):
        await vanished.remove(applied)
    assert len(await scene.managed()) == 2


async def test_nothing_is_removed_on_the_word_of_a_hub_that_refuses_us(
    scene: Scene, vanished: Cleanup, applied: Assigned
) -> None:
    await drop(scene, TEAM)
    scene.ready.sandbox.faults.add(Fault(kind="403", cluster="root"))
    assert await vanished.remove(applied) is None
    assert len(await scene.managed()) == 2


async def test_what_was_to_be_left_is_left_without_our_marks(
    scene: Scene, vanished: Cleanup, applied: Assigned
) -> None:
    await drop(scene, TEAM)
    orphaned = Assigned(
        placement=applied.placement, head=applied.head, target=applied.target, remove=True, vanished=True, orphan=True
    )
    assert await vanished.remove(orphaned) is not None
    assert await scene.managed() == set()
    assert await scene.in_target() is not None


async def test_a_target_in_trouble_is_tried_again(scene: Scene, vanished: Cleanup, applied: Assigned) -> None:
    await drop(scene, TEAM)
    fault = scene.ready.sandbox.faults.add(Fault(kind="503", cluster="target:east"))
    with pytest.raises(Retry):
        await vanished.remove(applied)
    scene.ready.sandbox.faults.remove(fault)
    assert await vanished.remove(applied) is not None
    assert await scene.managed() == set()


async def test_a_target_that_is_not_known_now_is_waited_for(scene: Scene, vanished: Cleanup, applied: Assigned) -> None:
    await drop(scene, TEAM)
    unknown = Assigned(
        placement=applied.placement, head=applied.head, target=f"{PLATFORM}/later", remove=True, vanished=True
    )
    assert await vanished.remove(unknown) is not None  # there is no such SyncTarget
    scene.ready.sandbox.faults.add(Fault(kind="403", cluster=PLATFORM))
    with pytest.raises(KubeError):
        await vanished.remove(unknown)


async def test_a_target_whose_workspace_is_gone_as_well_is_out_of_reach(
    scene: Scene, vanished: Cleanup, applied: Assigned
) -> None:
    await drop(scene, TEAM)
    await drop(scene, PLATFORM)
    unknown = Assigned(
        placement=applied.placement, head=applied.head, target=f"{PLATFORM}/later", remove=True, vanished=True
    )
    bound = await vanished.remove(unknown)
    assert bound is not None
    assert bound.phase == "Removed"


async def test_that_targets_are_not_served_does_not_mean_that_there_is_none(
    scene: Scene, vanished: Cleanup, applied: Assigned
) -> None:
    await drop(scene, TEAM)
    await scene.hub.cluster(PLATFORM).delete(CRDS, "synctargets.placement.moorage.io")
    unknown = Assigned(
        placement=applied.placement, head=applied.head, target=f"{PLATFORM}/later", remove=True, vanished=True
    )
    with pytest.raises(KubeError):
        await vanished.remove(unknown)

"""The controller as a worker, over an API server (the sandbox), a bus and a store in memory."""

import dataclasses

from shared.api import Taint
from shared.broker.table import Table
from shared.hub.names import PLACED_FINALIZER
from shared.hub.resources import PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.model.preemption import Victim
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import Request
from shared.model.target import Target
from shared.pipeline.buckets import HEADS, INVENTORY, VICTIMS
from shared.pipeline.messages import Reported, Requested, Withdrawn
from tests.integration.controller.conftest import at_work
from tests.support.grants import ACCESS, PLACING, grant
from tests.support.manifests import placement
from tests.support.scene import PLATFORM, TEAM, Scene
from tests.support.waiting import until


async def head_of(scene: Scene, ref: PlacementRef):
    found = await Table(scene.store, HEADS).get(ref.key)
    return found.value if found is not None else None


async def test_a_bus_that_fails_while_it_publishes_is_waited_for_and_the_round_is_asked_for_again(scene: Scene) -> None:
    async with at_work(scene, resync_seconds=0.2) as bus:
        bus.broken = True
        await scene.workload()
        ref = await scene.place()
        await until(lambda: bus.refused)
        bus.broken = False
        said = (await bus.says(Requested))[-1]
    assert isinstance(said, Requested)
    assert (said.request.placement, said.request.error) == (ref, "")


async def test_a_placement_is_asked_for_held_and_let_go_when_it_is_deleted(scene: Scene) -> None:
    async with at_work(scene) as bus:
        await scene.workload()
        ref = await scene.place()
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.cause.code == "Created"
        found = await scene.team.get(PLACEMENTS, "web", "shop")
        assert found["metadata"]["finalizers"] == [PLACED_FINALIZER]
        await scene.team.delete(PLACEMENTS, "web", "shop")
        (gone,) = await bus.says(Withdrawn)
        assert said.at.older_than(gone.at)
        await until(lambda: absent(scene))
        head = await head_of(scene, ref)
        assert head is not None
        assert head.deleted
    assert len(bus.said) == 2


async def absent(scene: Scene) -> bool:
    return not (await scene.team.list(PLACEMENTS, "shop")).items


async def test_a_placement_that_vanished_while_nobody_looked_is_withdrawn(scene: Scene) -> None:
    ref = await scene.place()
    async with at_work(scene) as bus:
        await bus.says(Requested)
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": []}}, "shop")
    await scene.team.delete(PLACEMENTS, "web", "shop")
    async with at_work(scene) as bus:
        (said,) = await bus.says(Withdrawn)
        assert said.about == ref
    assert len(bus.said) == 1


async def test_a_placement_that_is_suspended_says_so_and_is_placed_when_that_ends(scene: Scene) -> None:
    async with at_work(scene) as bus:
        await scene.place(suspend=True)
        await bus.says(Reported)
        await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"suspend": False}}, "shop")
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.cause.code == "SpecChanged"
    assert len(bus.said) == 2


async def test_a_spec_that_is_written_differently_and_means_the_same_has_one_round_for_its_generation(
    scene: Scene,
) -> None:
    async with at_work(scene) as bus:
        await scene.workload()
        ref = await scene.place()
        await bus.says(Requested)
        await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"targets": {"tolerations": []}}}, "shop")
        assert (await scene.team.get(PLACEMENTS, "web", "shop"))["metadata"]["generation"] == 2
        said = (await bus.says(Requested, 2))[1]
        assert isinstance(said, Requested)
        assert (said.about, said.at.generation, said.request.cause.code) == (ref, 2, "SpecChanged")


async def test_what_the_requester_may_not_get_is_refused_before_anything_is_decided(scene: Scene) -> None:
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    token = scene.ready.sandbox.add_user("tess")
    reading = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
    await grant(scene.team, "tess", ACCESS, PLACING, reading)
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "card"}}]})
    async with Client(dataclasses.replace(credentials, token=token)) as client, at_work(scene) as bus:
        await client.cluster(TEAM).create(PLACEMENTS, placement())
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.error == "requester may not get Secret shop/card"
        assert said.request.workload == ()


async def test_who_leaves_a_drained_target_is_asked_to_leave_no_other_for_others_beyond_its_budget(
    scene: Scene,
) -> None:
    drained = Taint(key="drained", effect="NoExecute")
    names = {"east": (drained,), "west": (), "north": ()}
    for name, taints in names.items():
        target = Target(workspace=PLATFORM, name=name, uid=name, ready=True, taints=taints)
        await Table(scene.store, INVENTORY).put(TargetRef.of(target).key, target)
    await scene.workload()
    ref = await scene.place(stability={"disruptionBudget": 1}, targets={"count": {"min": 3}})
    await scene.decide(ref, *names)
    east, west = f"{PLATFORM}/east", f"{PLATFORM}/west"
    waits = PlacementRef(workspace="root:other", namespace="shop", name="urgent")
    victim = Victim(placement=ref, target=west, by=(waits,))
    await Table(scene.store, VICTIMS).put(f"{TargetRef.parse(west).key}.{ref.key}", victim)
    async with at_work(scene) as bus:

        async def leaves(target: str) -> list[Request]:
            """What was asked for, once it is to leave this target."""
            return await until(
                lambda: [each.request for each in bus.of(Requested) if isinstance(each, Requested)],
                f"it leaves {target}",
                holds=lambda found: bool(found) and found[-1].leaving == (target,),
            )

        await leaves(east)
        await scene.decide(ref, "west", "north")
        await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"priority": 1}}, "shop")
        asked = await leaves(west)
        assert asked[-1].preempted == {west: "another placement"}
        assert [each for each in asked if each.preempted.keys() - set(each.leaving)] == []

"""Capacity is given back when the cluster says that it is free (trust rule 14)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.binding.binder import Binder
from services.binding.target.parent import parent_of
from services.decision.completeness import MARKER
from services.decision.decider import Decider
from services.decision.ledger import key_of
from services.decision.settings import DecisionSettings
from services.decision.worker import clear_strays, give_back, open_decision, release_leftovers, withdraw
from services.sandbox.wire.faults import Fault
from shared.broker.bus import Retry
from shared.broker.memory.bus import MemoryBus
from shared.broker.table import Table
from shared.hub.names import SYSTEM_NAMESPACE, applyset_of, binding_name
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.applyset import applyset_member
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS, NAMESPACES, PODS
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry
from shared.model.target import Stray, Target
from shared.pipeline.buckets import HEADS, INVENTORY, RESERVATIONS
from shared.pipeline.messages import Assigned, Bound, Withdrawn
from shared.pipeline.runtime import Runtime
from tests.integration.binding import conftest as binding
from tests.integration.discovery.test_counting import REPLICASETS, pod, workload
from tests.support import discovery
from tests.support.client import if_there
from tests.support.scene import PLATFORM, TEAM, Scene, opened
from tests.support.waiting import until

NOBODY = PlacementRef(workspace="", namespace="", name="")
EAST, WEST = f"{PLATFORM}/east", f"{PLATFORM}/west"
new_binder, binder = binding.new_binder, binding.binder  # fixtures
Binders = Callable[..., Binder]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene


async def applied(scene: Scene, binder: Binder, *targets: str) -> tuple[PlacementRef, Head]:
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, *targets)
    for target in targets:
        await scene.insist(binder, scene.assigned(ref, head, target))
        assert await scene.managed(target) == {"Deployment web"}
    return ref, head


async def strip(scene: Scene, ref: PlacementRef, target: str) -> None:
    """Take away a PlacementBinding by hand, finalizers and all."""
    name = binding_name(ref.name, f"{PLATFORM}/{target}")
    await scene.team.merge_patch(BINDINGS, name, {"metadata": {"finalizers": None}}, ref.namespace)
    await if_there(scene.team.delete(BINDINGS, name, ref.namespace))  # which may have happened with its Placement


# --- records that were taken away by hand ----------------------------------------------------------------------------


async def test_a_tenant_that_takes_away_finalizers_gets_no_room_while_its_pods_run(
    scene: Scene, binder: Binder
) -> None:
    ref, head = await applied(scene, binder, "east")
    await scene.team.delete(PLACEMENTS, ref.name, ref.namespace)
    await strip(scene, ref, "east")
    removal = scene.assigned(ref, head, remove=True)
    fault = scene.ready.sandbox.faults.add(Fault(kind="503", cluster="target:east"))
    with pytest.raises(Retry):  # the target does not say that it is free
        await binder.bind(removal)
    scene.ready.sandbox.faults.remove(fault)
    scene.ahead += 3600.0  # it was left alone for a while
    bound = await scene.insist(binder, removal)
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.managed("east") == set()
    assert await scene.binding(ref) is None


async def test_a_tenant_that_takes_the_namespace_away_too_leaves_nothing_in_the_target(
    scene: Scene, binder: Binder
) -> None:
    ref, head = await applied(scene, binder, "east")
    await scene.team.delete(PLACEMENTS, ref.name, ref.namespace)
    await strip(scene, ref, "east")
    await scene.team.delete(NAMESPACES, ref.namespace)
    bound = await scene.insist(binder, scene.assigned(ref, head, remove=True))
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.managed("east") == set()


async def test_what_a_hub_from_a_backup_does_not_know_of_is_cleared_and_the_rest_stays(
    scene: Scene, binder: Binder
) -> None:
    ref, head = await applied(scene, binder, "east", "west")
    await strip(scene, ref, "west")
    head = await scene.decide(ref, "east")  # as in the backup
    bound = await scene.insist(binder, scene.assigned(ref, head, "west", remove=True))
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.managed("west") == set()
    assert await scene.managed("east") == {"Deployment web"}


async def test_nothing_is_taken_from_a_target_that_is_selected_again(scene: Scene, binder: Binder) -> None:
    ref, head = await applied(scene, binder, "east")
    await strip(scene, ref, "east")
    await scene.decide(ref, "east")
    assert await binder.bind(scene.assigned(ref, head, remove=True)) is None
    assert await scene.managed("east") == {"Deployment web"}


# --- who gives capacity back -----------------------------------------------------------------------------------------


@asynccontextmanager
async def deciding(scene: Scene) -> AsyncIterator[Decider]:
    await Table(scene.store, RESERVATIONS).put(MARKER, reservation(NOBODY))
    async with asyncio.TaskGroup() as tasks:
        settings = DecisionSettings(kubeconfig=str(scene.ready.kubeconfigs["admin"]), hub="kcp")
        runtime = Runtime(settings, MemoryBus(), scene.store, tasks, clock=scene.clock)
        async with open_decision(runtime) as deps:
            yield deps
        await runtime.end()


def reservation(ref: PlacementRef, head: Head | None = None) -> Reservation:
    return Reservation(placement=ref, head=head or Head(uid="u", generation=1, attempt=1), resources={"cpu": 4.0})


async def reserve(scene: Scene, deps: Decider, ref: PlacementRef, head: Head, target: str) -> None:
    await Table(scene.store, RESERVATIONS).put(key_of(target, ref), reservation(ref, head))
    await until(lambda: TargetRef.parse(target).key in deps.ledger.held_by(ref))


async def test_a_tenant_that_takes_all_records_away_has_its_place_kept_until_the_target_says_that_it_is_free(
    scene: Scene,
) -> None:
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, "east")
    for resource in (DECISIONS, PLACEMENTS):
        await scene.team.delete(resource, ref.name, ref.namespace)
    async with deciding(scene) as deps:
        await reserve(scene, deps, ref, head, EAST)
        gone = msgspec.structs.replace(head, attempt=head.attempt + 1)
        told = await withdraw(Withdrawn(placement=ref, head=gone), deps)
        assert told == [Assigned(placement=ref, head=gone, target=EAST, remove=True, held=1)]
        assert deps.ledger.held_by(ref)
        assert [each.target for each in await release_leftovers(deps)] in ([], [EAST])
        assert deps.ledger.held_by(ref)
        await give_back(Bound(placement=ref, head=gone, target=EAST, phase="Removed"), deps)
        await until(lambda: not deps.ledger.held_by(ref))


async def test_what_is_held_where_nothing_is_selected_or_bound_is_asked_for_in_the_target_first(scene: Scene) -> None:
    await scene.workload()
    ref = await scene.place()
    old = await scene.decide(ref, "west")
    head = await scene.decide(ref, "east")
    async with deciding(scene) as deps:
        await reserve(scene, deps, ref, old, WEST)
        await until(lambda: (found := deps.heads.get(ref.key)) is not None and found.head == head)
        assert await release_leftovers(deps) == [Assigned(placement=ref, head=head, target=WEST, remove=True, held=1)]
        assert deps.ledger.held_by(ref)


# --- strays ----------------------------------------------------------------------------------------------------------


class Astray:
    """A placement that is decided for east, and seen in west as well."""

    def __init__(self, scene: Scene, deps: Decider, ref: PlacementRef, head: Head) -> None:
        self.scene, self.deps, self.ref, self.head = scene, deps, ref, head

    async def seen(self, uid: str = "") -> None:
        stray = Stray(placement=self.ref, uid=uid or self.head.uid)
        table: Table[Target] = Table(self.scene.store, INVENTORY)
        revision = await table.put(TargetRef.parse(WEST).key, Target(workspace=PLATFORM, name="west", strays=(stray,)))
        assert await self.deps.inventory.reached(revision, 5.0)

    async def knows(self, head: Head | None) -> None:
        """What the controller remembers of it."""
        table = Table(self.scene.store, HEADS)
        changed = (
            table.delete(self.ref.key) if head is None else table.put(self.ref.key, HeadEntry(head=head, digest=""))
        )
        assert await self.deps.heads.reached(await changed, 5.0)

    async def vanish(self) -> None:
        for resource in (DECISIONS, PLACEMENTS):
            await self.scene.team.delete(resource, self.ref.name, self.ref.namespace)
        free = {"metadata": {"finalizers": None}}  # by hand
        await self.scene.team.merge_patch(PLACEMENTS, self.ref.name, free, self.ref.namespace)

    @property
    def removal(self) -> Assigned:
        return Assigned(placement=self.ref, head=self.head, target=WEST, remove=True)


@pytest.fixture
async def astray(scene: Scene) -> AsyncIterator[Astray]:
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, "east")
    async with deciding(scene) as deps:
        yield Astray(scene, deps, ref, head)


async def test_a_workload_that_runs_twice_since_the_hub_is_from_a_backup_is_cleared_where_nobody_decided_it(
    astray: Astray,
) -> None:
    await astray.seen()
    assert await clear_strays(astray.deps) == [astray.removal]


async def test_what_is_left_of_a_placement_that_is_gone_is_cleared(astray: Astray) -> None:
    await astray.seen()
    await astray.vanish()
    assert await clear_strays(astray.deps) == [astray.removal]


async def test_what_another_hub_placed_under_the_same_name_is_left_alone(astray: Astray) -> None:
    await astray.seen(uid="of-another-hub")
    assert await clear_strays(astray.deps) == []
    await astray.vanish()
    assert await clear_strays(astray.deps) == []
    await astray.knows(None)
    assert await clear_strays(astray.deps) == []


async def test_a_target_that_names_placements_as_it_likes_has_nothing_decided_taken_away(astray: Astray) -> None:
    """Its owner may write any parent; what is selected, reserved, or being decided is left alone."""
    await astray.seen()
    await reserve(astray.scene, astray.deps, astray.ref, astray.head, WEST)
    assert await clear_strays(astray.deps) == []


async def test_what_is_being_decided_is_left_alone(astray: Astray) -> None:
    await astray.seen()
    await astray.knows(msgspec.structs.replace(astray.head, attempt=astray.head.attempt + 1))
    assert await clear_strays(astray.deps) == []


async def test_nothing_is_cleared_while_the_hub_does_not_answer(astray: Astray) -> None:
    await astray.seen()
    astray.scene.ready.sandbox.faults.add(Fault(kind="503", cluster=TEAM))
    assert await clear_strays(astray.deps) == []


# --- discovery -------------------------------------------------------------------------------------------------------

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")


@asynccontextmanager
async def placed_in_east(tmp_path: Path) -> AsyncIterator[discovery.Scene]:
    """A Deployment with 2 cpu that Moorage placed, and a pod with half a cpu that it did not."""
    async with discovery.opened(tmp_path) as scene:
        await scene.define(PLATFORM)
        await scene.offer(PLATFORM, "east")
        async with Client(load_kubeconfig(scene.kubeconfigs["target-east"])) as client:
            for name in ("shop", SYSTEM_NAMESPACE):
                await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            await client.create(CONFIGMAPS, parent_of(REF, "uid-of-web", {("apps/v1", "Deployment")}, {"shop"}))
            made = applyset_member(workload(DEPLOYMENTS, "web"), applyset_of(REF))
            deployment = await client.create(DEPLOYMENTS, made)
            replicaset = await client.create(REPLICASETS, workload(REPLICASETS, "web-1", owner=deployment))
            await client.create(PODS, pod("web-1-a", "2", owner=replicaset))
            await client.create(PODS, pod("other", "500m"))
        await Table(scene.store, RESERVATIONS).put(MARKER, reservation(NOBODY))
        yield scene


async def counted(scene: discovery.Scene, cpu: float) -> Target:
    async def look() -> Target | None:
        return await scene.entry(PLATFORM, "east")

    found: Target = await until(
        look, holds=lambda entry: entry is not None and entry.counted and entry.allocated.get("cpu") == cpu, within=15.0
    )
    return found


async def no_strays(scene: discovery.Scene) -> dict[str, Any]:
    found = await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "east")
    told = (found.get("status") or {}).get("conditions", ())
    return next((each for each in told if each["type"] == "NoStrays"), {})


async def events(scene: discovery.Scene) -> list[tuple[str, str, str]]:
    """What the owner of the target was told, in its workspace."""
    found = (await scene.hub.cluster(PLATFORM).list(EVENTS, "default")).items
    return [
        (each["type"], each["reason"], each["message"]) for each in found if each["involvedObject"]["name"] == "east"
    ]


async def test_what_runs_without_a_reservation_takes_room_is_told_of_and_is_no_news_once_it_has_one(
    tmp_path: Path,
) -> None:
    async with placed_in_east(tmp_path) as scene, scene.running(capacity_interval_seconds=0.2):
        assert (await counted(scene, 2.5)).strays in ((), (Stray(placement=REF, uid="uid-of-web"),))
        await until(
            lambda: scene.entry(PLATFORM, "east"),
            holds=lambda entry: entry.strays == (Stray(placement=REF, uid="uid-of-web"),),
        )
        told = await until(lambda: no_strays(scene), holds=lambda found: found.get("status") == "False")
        assert told["message"] == f"1 that nobody decided: {REF}"
        await until(lambda: scene.measured("moorage_strays"), holds=lambda found: found == {"": 1.0})

        await Table(scene.store, RESERVATIONS).put(key_of(EAST, REF), reservation(REF))
        assert (await counted(scene, 0.5)).strays == ()
        await until(lambda: no_strays(scene), holds=lambda found: found.get("status") == "True")
        await until(lambda: scene.measured("moorage_strays"), holds=lambda found: found == {"": 0.0})


async def test_the_owner_of_a_target_is_told_of_strays_by_one_event_per_change(tmp_path: Path) -> None:
    stray = ("Warning", "Strays", f"1 that nobody decided: {REF}")
    clean = ("Normal", "NoStrays", "nothing runs here any more that nobody decided")
    async with placed_in_east(tmp_path) as scene, scene.running(capacity_interval_seconds=0.2):
        await until(lambda: events(scene), holds=lambda found: found == [stray])
        await scene.looks("east", 10)
        assert await events(scene) == [stray]
        revision = await Table(scene.store, RESERVATIONS).put(key_of(EAST, REF), reservation(REF))
        await until(lambda: events(scene), holds=lambda found: sorted(found) == [clean, stray])
        await Table(scene.store, RESERVATIONS).delete(key_of(EAST, REF), revision)
        await until(lambda: events(scene), holds=lambda found: sorted(found) == [clean, stray, stray])


async def test_copies_of_discovery_tell_the_owner_of_strays_once(tmp_path: Path) -> None:
    quick = {"capacity_interval_seconds": 0.2}
    async with placed_in_east(tmp_path) as scene, scene.running(**quick), scene.running(**quick):
        await until(lambda: no_strays(scene), holds=lambda found: found.get("status") == "False")
        await until(lambda: events(scene))
        await scene.looks("east", 10)
        assert len(await events(scene)) == 1


async def test_while_reservations_are_not_complete_nothing_counts_as_a_stray(tmp_path: Path) -> None:
    async with placed_in_east(tmp_path) as scene:
        await Table(scene.store, RESERVATIONS).delete(MARKER)
        async with scene.running(capacity_interval_seconds=0.2):
            await counted(scene, 0.5)
            await scene.looks("east", 10)
            found = await counted(scene, 0.5)
            assert found.strays == ()

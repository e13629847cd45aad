"""One tenant cannot stop another, and a network that is broken moves nothing (trust rules 10 and 21)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE
from services.controller.settings import ControllerSettings
from services.controller.worker import worker as controller
from services.registry import load
from services.sandbox.wire.http import Request, Response
from services.status.settings import StatusSettings
from services.status.worker import worker as status
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.broker.table import Table
from shared.hub.resources import DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.resources import EVENTS
from shared.model.refs import PlacementRef
from shared.model.target import Target, Workspace
from shared.pipeline import topology
from shared.pipeline.buckets import HEADS, INVENTORY, WORKSPACES
from shared.pipeline.messages import Requested, decoder
from shared.pipeline.runner import run
from shared.pipeline.worker import Worker
from shared.process.settings import Settings
from shared.process.tracing import Telemetry
from tests.support import discovery, perimeter
from tests.support.manifests import condition, obj
from tests.support.scene import PLATFORM, RIVAL, TEAM, Scene, opened
from tests.support.waiting import until


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        for path in (TEAM, RIVAL):
            await Table(scene.store, WORKSPACES).put(path.replace(":", "=3A"), Workspace(path=path))
        yield scene


class System:
    """Workers at work on a scene, over one bus; and what was asked for on it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.broker = MemoryBroker()

    @asynccontextmanager
    async def running(self, worker: Worker, settings: Settings) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        bus, telemetry = MemoryBus(self.broker), Telemetry(worker.name, {})
        working = asyncio.create_task(
            run(worker, settings, bus, self.scene.store, stop=stop, telemetry=telemetry, on_ready=ready.set)
        )
        await until(lambda: ready.is_set() or working.done())
        try:
            yield
        finally:
            stop.set()
            await working

    def requested(self) -> list[Requested]:
        """All that the pipeline keeps of it, in the order in which it was asked for."""
        if topology.PIPELINE_STREAM not in self.broker.streams:
            return []
        messages = self.broker.streams[topology.PIPELINE_STREAM].messages.values()
        found = [each.payload for each in messages if each.subject.startswith("moorage.pipeline.requested.")]
        return [decoder(Requested).decode(each) for each in found]

    def asked(self, workspace: str) -> list[str]:
        placements = [each.request.placement for each in self.requested()]
        return [each.name for each in placements if each.workspace == workspace]


@pytest.fixture
def system(scene: Scene) -> System:
    return System(scene)


def controlling(scene: Scene, **settings: Any) -> ControllerSettings:
    kubeconfig = str(scene.ready.kubeconfigs["admin"])
    return ControllerSettings(**{"kubeconfig": kubeconfig, "health_port": -1, "sweep_seconds": 0.05, **settings})


async def several(scene: Scene, workspace: str, *names: str) -> list[PlacementRef]:
    """Placements of one Deployment."""
    await scene.workload(workspace, name="web")
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]
    return [await scene.place(name, workspace, workload=workload) for name in names]


def hold_until_followed(scene: Scene, held: str) -> None:
    """Have one workspace's Services, the last that is read for a placement, answer once the other's are followed."""
    handle, ready = scene.ready.sandbox.handle, asyncio.Event()

    async def answer(request: Request) -> Response:
        if request.path.endswith("/services") and request.path.startswith(f"/clusters/{held}/"):
            await ready.wait()
        elif request.path.endswith("/services") and request.flag("watch"):
            ready.set()
        return await handle(request)

    scene.ready.sandbox.handle = answer  # type: ignore[method-assign]  # it is looked up for every request


@pytest.mark.parametrize("name", PIPELINE)
def test_a_tenant_with_a_burst_waits_for_its_turns_in_every_stage(name: str) -> None:
    """The turns themselves are a contract of every bus: tests/contract/test_bus_fairness.py."""
    worker = load(name)
    assert all(each.ahead >= 4 * 32 for each in topology.consumers(worker))


async def test_a_tenant_with_a_burst_of_placements_does_not_come_first_in_the_controller(
    scene: Scene, system: System
) -> None:
    await several(scene, TEAM, *(f"burst-{number:03}" for number in range(150)))
    await several(scene, RIVAL, "alone")
    hold_until_followed(scene, TEAM)
    async with system.running(controller, controlling(scene, reconcile_concurrency=4)):
        await until(lambda: len(system.requested()) == 151, within=30.0)
    order = [each.request.placement.workspace for each in system.requested()]
    assert order.index(RIVAL) < 75


async def test_a_tenant_with_more_placements_than_it_may_has_the_newest_refused(
    scene: Scene, system: System, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "moorage.audit")
    await several(scene, TEAM, "a", "b", "c")
    await several(scene, RIVAL, "d")
    async with system.running(controller, controlling(scene, max_workspace_placements=2)):
        await until(lambda: len(system.requested()) == 4)
    errors = {each.request.placement.name: each.request.error for each in system.requested()}
    assert errors == {"a": "", "b": "", "c": "its workspace has more than the 2 Placements that it may", "d": ""}
    audited = [each for each in caplog.records if getattr(each, "reason", "") == "TooManyPlacements"]
    assert {each.placement for each in audited} == {str(PlacementRef(workspace=TEAM, namespace="shop", name="c"))}


async def test_a_tenant_that_asks_for_rounds_without_end_is_made_to_wait_and_nobody_else(
    scene: Scene, system: System, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "moorage.audit")
    await several(scene, TEAM, *(f"burst-{number}" for number in range(8)))
    await several(scene, RIVAL, "alone")
    async with system.running(controller, controlling(scene, max_workspace_rounds_per_minute=3)):
        await until(lambda: system.asked(RIVAL) and len(system.asked(TEAM)) == 3)
        await asyncio.sleep(0.5)  # ten sweeps, in which nothing must come
    assert len(system.asked(TEAM)) == 3
    assert [each for each in caplog.records if getattr(each, "reason", "") == "TooManyRounds"]


async def test_a_tenant_that_offers_more_targets_than_it_may_is_told_so_and_the_rest_is_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "moorage.audit")
    async with discovery.opened(tmp_path) as scene:
        await scene.define("root:platform")
        await scene.offer("root:platform", "east")
        client = scene.hub.cluster("root:platform")
        async with scene.running(max_workspace_targets=1):
            await scene.ready("root:platform", "east")
            await scene.offer("root:platform", "west")

            async def why() -> str:
                found = await client.get(SYNCTARGETS, "west")
                told = [each for each in (found.get("status") or {}).get("conditions", ()) if each["type"] == "Ready"]
                return told[0]["message"] if told else ""

            await until(why, holds=lambda said: said == "its workspace offers more than the 1 targets that it may")
            assert await scene.entry("root:platform", "west") is None
            await client.delete(SYNCTARGETS, "east")
            await scene.ready("root:platform", "west")
    assert [each.target for each in caplog.records if getattr(each, "reason", "") == "TooManyTargets"] == [
        "root:platform/west"
    ]


# --- the brake -------------------------------------------------------------------------------------------------------

LONG_AGO = 1.0
IMPATIENT = {"stability": {"evictionTolerationSeconds": 0}}


async def targets(scene: Scene, lost: int, of: int = 6) -> None:
    table = Table(scene.store, INVENTORY)
    for number in range(of):
        await table.put(f"root=3Aplatform.t{number}", entry(number, lost=number < lost))


def entry(number: int, *, lost: bool) -> Target:
    since = LONG_AGO + number if lost else 0.0
    return Target(workspace=PLATFORM, name=f"t{number}", ready=not lost, lost_since=since)


async def decided(system: System, ref: PlacementRef, target: str) -> None:
    """Play the pipeline: what was asked for is decided, for one target."""
    scene = system.scene
    client: Client = scene.hub.cluster(ref.workspace)
    await until(lambda: [each for each in system.requested() if each.request.placement == ref])
    (message,) = (each for each in system.requested() if each.request.placement == ref)
    selected = [{"target": {"workspace": PLATFORM, "name": target}}]
    status = {"attempt": message.request.head.attempt, "selected": selected}
    body = obj("PlacementDecision", DECISIONS.api_version, name=ref.name, namespace="shop", status=status)
    await client.apply(DECISIONS, body, force=True)


def causes(system: System) -> dict[str, str]:
    return {each.request.placement.name: each.request.cause.code for each in system.requested()}


async def test_when_five_of_six_targets_are_lost_at_once_nothing_moves_and_the_placement_says_so(
    scene: Scene, system: System, caplog: pytest.LogCaptureFixture
) -> None:
    await targets(scene, lost=0)
    await scene.workload()
    ref = await scene.place(**IMPATIENT)
    kubeconfig = {"kubeconfig": str(scene.ready.kubeconfigs["admin"]), "health_port": -1, **perimeter.SETTINGS}
    async with (
        system.running(controller, controlling(scene)),
        system.running(status, StatusSettings(**kubeconfig, write_seconds=0.02)),
    ):
        await decided(system, ref, "t0")
        await targets(scene, lost=5)
        shown = await scene.until(ref, lambda found: any(c["type"] == "Held" for c in found.get("conditions", ())))
        held = condition(shown, "Held")
        assert (held["status"], held["reason"]) == ("True", "TooManyLost")
        assert held["message"].startswith(f"It stays on {PLATFORM}/t0, which is lost: most targets of workspace")
        events = (await scene.team.list(EVENTS, "shop")).items
        assert ("Held", "Warning") in {(each["reason"], each["type"]) for each in events}
        assert causes(system) == {"web": "Created"}
        assert "too many targets were lost at once: nothing is moved away from them" in caplog.text

        await targets(scene, lost=1)  # the network is mended, and one target is lost for good
        await until(lambda: causes(system) == {"web": "TargetLost"})
        assert system.requested()[-1].request.leaving == (f"{PLATFORM}/t0",)


async def test_a_tenant_that_loses_targets_of_its_own_does_not_hold_anothers_where_they_are(
    scene: Scene, system: System
) -> None:
    await targets(scene, lost=0)
    for number in range(60):
        lost = Target(workspace=f"root:evil:{number % 6}", name=f"t{number}", lost_since=LONG_AGO)
        await Table(scene.store, INVENTORY).put(f"root=3Aevil=3A{number % 6}.t{number}", lost)
    await scene.workload()
    ref = await scene.place(**IMPATIENT)
    async with system.running(controller, controlling(scene)):
        await decided(system, ref, "t0")
        await targets(scene, lost=1)
        await until(lambda: causes(system) == {"web": "TargetLost"})


SLOWLY = {"max_workspace_moves_per_minute": 1, "max_targets_left_per_minute": 0}


async def test_a_lost_target_is_left_by_so_many_placements_a_minute(scene: Scene, system: System) -> None:
    await targets(scene, lost=0)
    await scene.workload()
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]
    refs = [await scene.place(name, workload=workload, **IMPATIENT) for name in ("a", "b", "c")]
    async with system.running(controller, controlling(scene, **SLOWLY)):
        for ref in refs:
            await decided(system, ref, "t0")
        await targets(scene, lost=1)
        await until(lambda: "TargetLost" in causes(system).values())
        await asyncio.sleep(0.5)  # ten sweeps, in which no other must leave
        assert sorted(causes(system).values()) == ["Created", "Created", "TargetLost"]
        heads = await Table(scene.store, HEADS).entries()
        assert sum(bool(each.value.leaving) for each in heads) == 1


async def test_what_is_placed_while_the_brake_is_on_is_placed(scene: Scene, system: System) -> None:
    await targets(scene, lost=5)
    await scene.workload()
    async with system.running(controller, controlling(scene)):
        await scene.place(**IMPATIENT)
        await until(lambda: causes(system) == {"web": "Created"})
        await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"priority": 3}}, "shop")
        await until(lambda: causes(system) == {"web": "SpecChanged"})

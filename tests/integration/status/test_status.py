"""Status over real HTTP: what is decided, applied and observed shows on the Placement."""

import asyncio
import functools
from collections import Counter
from typing import Any

from shared.broker.table import Table
from shared.hub.resources import PLACEMENTS, WORKSPACES
from shared.kube.resources import DEPLOYMENTS, EVENTS
from shared.model.refs import Head, PlacementRef
from shared.pipeline.buckets import REPORTS
from shared.pipeline.messages import Bound, Reported
from shared.pipeline.topology import PIPELINE_STREAM
from tests.integration.status.conftest import TRACE, Pipeline
from tests.support.scene import BOUND, PLATFORM, Scene

FAIL = "sandbox.moorage.io/fail"
LOST = 1_800_000_000.0


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def in_phase(*phases: str) -> Any:
    return lambda status: status.get("phase") in phases


async def events(scene: Scene) -> list[tuple[str, str, str]]:
    found = (await scene.team.list(EVENTS, "shop")).items
    return [(each["type"], each["reason"], each["message"]) for each in found]


async def ready(pipeline: Pipeline, *targets: str, **spec: Any) -> PlacementRef:
    """A placement that runs well in these targets."""
    await pipeline.scene.workload()
    ref = await pipeline.scene.place(**spec)
    await pipeline.decide(ref, *targets)
    await pipeline.scene.until(ref, in_phase("Ready"))
    return ref


async def test_a_placement_becomes_ready_and_says_where_it_runs(pipeline: Pipeline) -> None:
    ref = await ready(pipeline, "east", "west")
    status = await pipeline.scene.until(ref, in_phase("Ready"))
    assert set(conditions(status).values()) == {"True"}
    assert set(conditions(status)) == {"Discovered", "PolicySatisfied", "Scheduled", "Applied", "Healthy", "Ready"}
    assert status["counts"] == {"selected": 2, "applied": 2, "ready": 2}
    assert [(each["name"], each["phase"], each["health"]) for each in status["targets"]] == [
        ("east", "Ready", "Healthy"),
        ("west", "Ready", "Healthy"),
    ]
    assert (status["traceId"], status["observedGeneration"]) == (TRACE, 1)
    assert status["decisionRef"]["name"] == "web"
    assert await events(pipeline.scene) == [("Normal", "Scheduled", "Placed on 2 of 3 targets: east, west.")]


async def test_a_refusal_is_one_sentence_and_one_event_however_often_it_comes(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await scene.place()
    for _ in range(3):
        await pipeline.refuse(ref, "0/3 targets: 3 lack apps/v1 Deployment")
        status = await scene.until(ref, in_phase("Unschedulable"))
    assert conditions(status)["Scheduled"] == "False"
    await pipeline.refuse(ref, "0/3 targets: 3 insufficient cpu")
    await scene.until(ref, lambda status: "insufficient cpu" in str(status))
    assert sorted(await events(scene)) == [
        ("Warning", "NoFeasibleTarget", "0/3 targets: 3 insufficient cpu"),
        ("Warning", "NoFeasibleTarget", "0/3 targets: 3 lack apps/v1 Deployment"),
    ]


async def test_what_runs_is_shown_on_while_a_change_is_refused(pipeline: Pipeline) -> None:
    ref = await ready(pipeline, "east")
    await pipeline.refuse(ref, "0/3 targets: 3 insufficient cpu", "east")
    status = await pipeline.scene.until(ref, in_phase("Unschedulable"))
    assert [each["health"] for each in status["targets"]] == ["Healthy"]


async def test_health_follows_the_cluster(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    broken = {"metadata": {"annotations": {FAIL: "true"}}}
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", broken, "shop")
    status = await scene.until(ref, in_phase("Degraded", "Applying"))
    assert conditions(status)["Ready"] == "False"
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {FAIL: None}}}, "shop")
    await scene.until(ref, in_phase("Ready"))
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    status = await scene.until(ref, in_phase("Degraded"))
    assert status["targets"][0]["message"] == "Deployment shop/web: it is gone from the target"


async def test_a_lost_target_degrades_the_placement_until_it_is_back(pipeline: Pipeline) -> None:
    ref = await ready(pipeline, "east", "west")
    for _ in range(2):  # the second time is news again, though it says the same
        await pipeline.change_target("east", lost_since=LOST, ready=False, reason="no answer")
        status = await pipeline.scene.until(ref, in_phase("Degraded"))
        assert [each.get("health", "Unknown") for each in status["targets"]] == ["Unknown", "Healthy"]
        assert status["targets"][0]["message"].startswith("The target is lost since 2027-01-15T08:00:00")
        await pipeline.change_target("east", lost_since=0.0, ready=True)
        await pipeline.scene.until(ref, in_phase("Ready"))


async def test_a_target_that_falls_silent_is_unknown_until_it_is_heard_of(idle: Pipeline) -> None:
    await idle.start("binding")
    await idle.start("status", stale_seconds=0.3)
    ref = await ready(idle, "east")
    idle.scene.ready.sandbox.set_available("east", False)
    status = await idle.scene.until(ref, in_phase("Degraded"))
    assert status["targets"][0]["message"] == "Nothing was heard of the target for more than 0.3 s."


async def test_each_target_is_watched_by_one_copy_and_by_another_when_that_is_gone(idle: Pipeline) -> None:
    watches: Counter[str] = Counter()

    async def watching(request: Any) -> None:
        if "status" in request.headers.get("user-agent", "") and request.path.startswith("/clusters/target:"):
            watches[request.path.split("/")[2]] += "watch" in request.query

    idle.scene.tap(before=watching)
    await idle.start("binding", "status 1", "status 2")
    ref = await ready(idle, "east", "west")
    assert watches == {"target:east": 1, "target:west": 1}
    await idle.stop("status 1")
    for target in ("east", "west"):
        await idle.scene.targets[target].delete(DEPLOYMENTS, "web", "shop")
        await idle.scene.until(ref, functools.partial(is_gone, target=target))


def is_gone(status: dict[str, Any], target: str) -> bool:
    """Whether a status says that something is gone from a target."""
    return any(each["name"] == target and "gone" in each.get("message", "") for each in status.get("targets", ()))


async def test_moving_away_shows_and_then_is_forgotten(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    head = await pipeline.decide(ref, "west")
    await pipeline.send(scene.assigned(ref, head, remove=True))
    status = await scene.until(
        ref, lambda status: status.get("phase") == "Ready" and [t["name"] for t in status["targets"]] == ["west"]
    )
    assert status["counts"]["selected"] == 1


async def test_a_deleted_placement_leaves_no_reports(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": ["test/keep"]}}, "shop")
    await scene.team.delete(PLACEMENTS, "web", "shop")
    await pipeline.send(Reported(placement=ref, head=Head(uid="", generation=1, attempt=1), fact="test"))
    await scene.until(ref, in_phase("Removing"))
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": None}}, "shop")
    await pipeline.send(Reported(placement=ref, head=Head(uid="", generation=1, attempt=1), fact="again"))
    await eventually_no_reports(pipeline)


async def test_what_changed_while_status_was_down_is_seen_at_its_start(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    await pipeline.stop("status")
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await pipeline.start("status")
    await scene.until(ref, in_phase("Degraded"))


async def test_reports_that_were_written_but_not_told_of_are_told_at_the_next_start(pipeline: Pipeline) -> None:
    """A worker that dies between its write to the bucket and its message."""
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    await pipeline.stop("status")
    table = Table(scene.store, REPORTS)
    (entry,) = await table.entries()
    await table.put(entry.key, entry.value)
    blank = {"status": {"phase": "Applying", "conditions": None, "targets": None}}
    await scene.team.merge_patch(PLACEMENTS, "web", blank, "shop", subresource="status")
    await pipeline.start("status")
    await scene.until(ref, in_phase("Ready"))


async def test_what_was_told_before_is_not_told_again_at_the_next_start_however_long_ago_that_was(
    pipeline: Pipeline,
) -> None:
    scene, broker = pipeline.scene, pipeline.bus.broker
    ref = await ready(pipeline, "east", "west")
    await pipeline.stop("status")
    told = {each.subject: number for number, each in broker.streams[PIPELINE_STREAM].messages.items()}
    broker.clock = lambda: scene.clock() + 3600.0  # the broker has forgotten the ids of its messages
    await scene.targets["west"].delete(DEPLOYMENTS, "web", "shop")
    await pipeline.start("status")
    await scene.until(ref, in_phase("Degraded"))
    again = {each.subject: number for number, each in broker.streams[PIPELINE_STREAM].messages.items()}
    assert {subject for subject, number in again.items() if told.get(subject) != number} == {
        f"moorage.pipeline.observed.{ref.key_in(f'{PLATFORM}/west')}"
    }


async def test_a_garbled_or_late_message_changes_nothing(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    head = Head(uid="another", generation=1, attempt=99)
    await pipeline.send(
        Bound(placement=ref, head=head, target=f"{PLATFORM}/nowhere", phase="Applied", version="1"),
        Bound(placement=ref, head=head, target=f"{PLATFORM}/east", phase="Failed", version="1"),
    )
    await pipeline.change_target("east", lost_since=LOST)
    await scene.until(ref, in_phase("Degraded"))
    await pipeline.change_target("east", lost_since=0.0)
    status = await scene.until(ref, in_phase("Ready"))
    assert [(each["name"], each["phase"]) for each in status["targets"]] == [("east", "Ready")]


async def test_reports_of_a_vanished_workspace_are_dropped_without_asking_it(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    await scene.hub.cluster("root").delete(WORKSPACES, "team")
    head = Head(uid="another", generation=1, attempt=99)
    await pipeline.send(Bound(placement=ref, head=head, target=f"{PLATFORM}/east", phase="Removed", vanished=True))
    await eventually_no_reports(pipeline)


async def test_a_target_whose_credentials_change_is_followed_on(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline, "east")
    await pipeline.stop("status")
    good = scene.ready.kubeconfigs["target-east"].read_bytes()
    await scene.use_token("east", "wrong")
    await pipeline.start("status")
    refused = asyncio.Event()

    async def watching(request: Any) -> None:
        if request.path.startswith("/clusters/target:east") and "wrong" in str(request.headers):
            refused.set()

    scene.tap(after=watching)
    async with asyncio.timeout(BOUND):
        await refused.wait()
    await scene.use_kubeconfig("east", good)
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await scene.until(ref, in_phase("Degraded"))


async def eventually_no_reports(pipeline: Pipeline) -> None:
    view = Table(pipeline.scene.store, REPORTS).follow()
    following = asyncio.create_task(view.run())
    async with asyncio.timeout(BOUND):
        await view.synced.wait()
        revision = 0
        while view.entries:
            revision = await view.moved(max(revision, view.revision))
    following.cancel()

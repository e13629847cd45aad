"""Binding and status together: health on PlacementBindings, and what others change in targets."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.broker.table import Table
from shared.hub.names import LEASE_ANNOTATION, binding_name
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.resources import DEPLOYMENTS
from shared.kube.times import seconds
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import HEADS, REPORTS
from shared.pipeline.messages import PIPELINE, Bound
from shared.pipeline.topology import PIPELINE_STREAM
from tests.integration.status.conftest import Pipeline
from tests.support.manifests import condition
from tests.support.scene import BOUND, PLATFORM, Scene
from tests.support.waiting import until

FAIL = "sandbox.moorage.io/fail"


async def until_bound(scene: Scene, ref: PlacementRef, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The PlacementBinding in east as soon as a condition holds of it."""
    found: dict[str, Any] = await until(
        lambda: scene.binding(ref), holds=lambda found: found and holds(found), within=BOUND
    )
    return found


def in_phase(phase: str) -> Callable[[dict[str, Any]], bool]:
    return lambda binding: bool(binding.get("status", {}).get("phase") == phase)


async def until_in_target(scene: Scene, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The Deployment in east as soon as a condition holds of it."""
    found: dict[str, Any] = await until(scene.in_target, holds=lambda found: found and holds(found), within=BOUND)
    return found


async def ready(pipeline: Pipeline, **spec: Any) -> PlacementRef:
    """A placement that is Ready in east."""
    await pipeline.scene.workload()
    ref = await pipeline.scene.place(**spec)
    await pipeline.decide(ref, "east")
    await until_bound(pipeline.scene, ref, in_phase("Ready"))
    return ref


@pytest.fixture
async def strict(idle: Pipeline) -> Pipeline:
    """Drift is corrected at once."""
    await idle.start("binding", drift_seconds=0.0)
    await idle.start("status")
    return idle


async def test_a_binding_shows_the_health_of_its_objects(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    ref = await ready(pipeline)
    binding = await until_bound(scene, ref, in_phase("Ready"))
    assert condition(binding["status"], "Available")["status"] == "True"
    assert condition(binding["status"], "Progressing")["status"] == "False"
    assert [each["health"] for each in binding["status"]["objects"]] == ["Healthy"]
    broken = {"metadata": {"annotations": {FAIL: "true"}}}
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", broken, "shop")
    binding = await until_bound(scene, ref, lambda found: not in_phase("Ready")(found))
    available = condition(binding["status"], "Available")
    assert available["status"] == "False"
    assert available["message"].startswith("Deployment web: ")
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {FAIL: None}}}, "shop")
    await until_bound(scene, ref, in_phase("Ready"))


async def told(pipeline: Pipeline) -> bool:
    """Whether binding has told what came of what it did."""
    messages = pipeline.bus.broker.streams[PIPELINE_STREAM].messages.values()
    return any(each.subject.startswith(f"{PIPELINE}.{Bound.stage}.") for each in messages)


async def test_what_is_applied_is_on_record_together_with_its_health(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    phases: list[str] = []

    async def watching(request: Any) -> None:
        if request.method == "PUT" and "/placementbindings/" in request.path and request.path.endswith("/status"):
            phases.append(json.loads(request.body)["status"]["phase"])

    scene.tap(before=watching)
    await ready(pipeline)
    assert phases == ["Ready"]


async def test_what_nobody_knows_the_health_of_is_on_record_as_applied_all_the_same(idle: Pipeline) -> None:
    await idle.start("binding", health_seconds=0.2)
    await idle.scene.workload()
    ref = await idle.scene.place()
    await idle.decide(ref, "east")
    await until_bound(idle.scene, ref, in_phase("Applied"))


async def test_what_was_applied_by_a_worker_that_died_before_it_was_on_record_is_applied_again(idle: Pipeline) -> None:
    scene = idle.scene
    await idle.start("binding", health_seconds=3600.0)
    await scene.workload()
    ref = await scene.place()
    await idle.decide(ref, "east")
    await until(lambda: told(idle), within=BOUND)
    await idle.kill("binding")
    assert not in_phase("Ready")(await scene.binding(ref) or {})
    await idle.start("binding", apply_timeout_seconds=0.5, lease_margin_seconds=0.0)
    await idle.start("status")
    await until_bound(scene, ref, in_phase("Ready"))


async def decided_unknown_to_status(pipeline: Pipeline) -> PlacementRef:
    """A placement assigned to east, whose newest attempt is not in the bucket that says it: news of it comes late."""
    await pipeline.scene.workload()
    ref = await pipeline.scene.place()
    head = await pipeline.scene.decide(ref, "east")
    await Table(pipeline.scene.store, HEADS).delete(ref.key)
    await pipeline.send(pipeline.scene.assigned(ref, head))
    return ref


async def test_what_is_told_before_it_is_on_record_is_believed_where_the_newest_attempt_is_not_known(
    idle: Pipeline,
) -> None:
    await idle.start("binding", health_seconds=3600.0)
    await idle.start("status")
    ref = await decided_unknown_to_status(idle)
    await until_bound(idle.scene, ref, in_phase("Ready"))


async def test_status_is_told_again_of_what_it_knows_nothing_of(idle: Pipeline) -> None:
    """The binding changed after it was told of, and before status had it say what is applied: there was nothing yet."""
    scene = idle.scene
    await idle.start("binding", health_seconds=1.0)
    ref = await decided_unknown_to_status(idle)
    await until(lambda: told(idle), within=BOUND)
    name = binding_name(ref.name, f"{PLATFORM}/east")
    await scene.team.merge_patch(BINDINGS, name, {"metadata": {"annotations": {"note": "seen"}}}, ref.namespace)
    await idle.start("status")
    await until_bound(scene, ref, in_phase("Ready"))


async def test_the_two_do_not_answer_each_other_for_ever(pipeline: Pipeline) -> None:
    """News of one target on its way through both workers shows when theirs of another has been through them."""
    scene = pipeline.scene
    ref = await ready(pipeline)
    writes = scene.count_requests("root:team")
    for number in range(3):
        await pipeline.change_target("east", lost_since=1_800_000_000.0)
        await scene.until(ref, lambda status: status["phase"] == "Degraded")
        await pipeline.change_target("east", lost_since=0.0)
        await scene.until(ref, lambda status: status["phase"] == "Ready")
        assert not [each for each in writes if each.startswith("PUT") and "placementbindings" in each], number


async def test_a_deleted_object_comes_back(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    before = await scene.in_target()
    assert before is not None
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    after = await until_in_target(scene, lambda found: found["metadata"]["uid"] != before["metadata"]["uid"])
    assert after["spec"] == before["spec"]
    binding = await until_bound(scene, ref, in_phase("Ready"))
    assert binding["status"]["objects"][0]["uid"] == after["metadata"]["uid"]


async def test_what_was_applied_just_now_is_left_alone(idle: Pipeline) -> None:
    await idle.start("binding", drift_seconds=3600.0)
    await idle.start("status")
    scene = idle.scene
    ref = await ready(idle)
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await until_bound(scene, ref, in_phase("Degraded"))
    assert await scene.in_target() is None


async def test_what_was_left_alone_for_a_while_is_corrected_then(idle: Pipeline) -> None:
    await idle.start("binding", drift_seconds=2.0)
    await idle.start("status")
    scene = idle.scene
    ref = await ready(idle)
    applied = await until_bound(scene, ref, in_phase("Ready"))
    rested = seconds(condition(applied["status"], "Progressing")["lastTransitionTime"]) + 2.0
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await until_in_target(scene, bool)
    assert time.time() >= rested


async def test_fields_that_somebody_removed_come_back(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    gone = {"metadata": {"labels": {"placement.moorage.io/managed": None}}}
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", gone, "shop", field_manager="kubectl-label")
    await until_in_target(
        scene, lambda found: found["metadata"]["labels"].get("placement.moorage.io/managed") == "true"
    )
    await until_bound(scene, ref, in_phase("Ready"))


def scaled(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas},
    }


async def test_fields_that_somebody_took_over_are_a_conflict(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    await scene.targets["east"].apply(DEPLOYMENTS, scaled(5), field_manager="kubectl", force=True)
    binding = await until_bound(scene, ref, in_phase("Failed"))
    conflict = condition(binding["status"], "ConflictFree")
    assert conflict["status"] == "False"
    assert "kubectl owns .spec.replicas" in conflict["message"]
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["replicas"] == 5
    status = await scene.until(ref, lambda status: status["phase"] == "Degraded")
    assert "kubectl owns .spec.replicas" in status["targets"][0]["message"]


async def test_a_conflict_that_was_given_up_ends(idle: Pipeline) -> None:
    await idle.start("binding", drift_seconds=0.0, refused_retry_seconds=0.1)
    await idle.start("status")
    scene = idle.scene
    ref = await ready(idle)
    await scene.targets["east"].apply(DEPLOYMENTS, scaled(5), field_manager="kubectl", force=True)
    await until_bound(scene, ref, in_phase("Failed"))
    bare = {key: value for key, value in scaled(0).items() if key != "spec"}
    await scene.targets["east"].apply(DEPLOYMENTS, bare, field_manager="kubectl")
    await until_in_target(scene, lambda found: found["spec"].get("replicas") == 2)
    binding = await until_bound(scene, ref, in_phase("Ready"))
    assert condition(binding["status"], "ConflictFree")["status"] == "True"


async def test_what_was_taken_over_is_taken_back_where_the_placement_says_so(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict, conflictPolicy="TakeOver")
    await scene.targets["east"].apply(DEPLOYMENTS, scaled(5), field_manager="kubectl", force=True)
    await until_in_target(scene, lambda found: found["spec"]["replicas"] == 2)
    binding = await until_bound(scene, ref, in_phase("Ready"))
    assert condition(binding["status"], "ConflictFree")["status"] == "True"


async def test_what_others_add_is_theirs(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    requests = scene.count_requests("target:east")
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"theirs": "1"}}}, "shop")
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {FAIL: "true"}}}, "shop")
    await until_bound(scene, ref, lambda found: not in_phase("Ready")(found))
    mine = [each for each in requests if each.startswith("PATCH")]
    assert len(mine) == 2


async def test_what_a_suspended_placement_lost_comes_back_when_it_goes_on(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"suspend": True}}, "shop")
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await until_bound(scene, ref, in_phase("Degraded"))
    assert await scene.in_target() is None
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"suspend": None}}, "shop")
    await strict.decide(ref, "east")
    await until_in_target(scene, bool)
    await until_bound(scene, ref, in_phase("Ready"))


async def test_what_was_deleted_while_nobody_looked_comes_back(strict: Pipeline) -> None:
    scene = strict.scene
    ref = await ready(strict)
    await strict.stop("status", "binding")
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await strict.start("binding", drift_seconds=0.0)
    await strict.start("status")
    await until_in_target(scene, bool)
    await until_bound(scene, ref, in_phase("Ready"))


async def test_a_correction_that_a_worker_died_in_is_finished(idle: Pipeline) -> None:
    """It left its lease behind, and the observation that it acted on."""
    await idle.start("binding", drift_seconds=0.0, apply_timeout_seconds=0.3, lease_margin_seconds=0.0)
    await idle.start("status")
    scene = idle.scene
    ref = await ready(idle)
    binding = await until_bound(scene, ref, in_phase("Ready"))
    taken = {"metadata": {"annotations": {LEASE_ANNOTATION: "2026-01-01T00:00:00Z dead"}}}
    await scene.team.merge_patch(BINDINGS, binding["metadata"]["name"], taken, "shop")
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await until_in_target(scene, bool)
    await until_bound(scene, ref, in_phase("Ready"))


async def test_what_was_gone_before_anybody_looked_is_put_back(idle: Pipeline) -> None:
    """The records say that it is in place, the reports were lost, and in the target it is not."""
    scene = idle.scene
    await idle.start("binding", drift_seconds=0.0)
    await idle.start("status", unseen_seconds=0.2)
    ref = await ready(idle)
    await idle.stop("status")
    reports = Table(scene.store, REPORTS)
    for entry in await reports.entries():
        await reports.delete(entry.key)
    await scene.targets["east"].delete(DEPLOYMENTS, "web", "shop")
    await idle.start("status", unseen_seconds=0.2)
    await idle.decide(ref, "east")
    await until_in_target(scene, lambda found: found["metadata"]["name"] == "web")

"""What runs to its end stays ended: binding and status together, and a cluster that deletes what has ended."""

from typing import Any

import pytest

from shared.hub.names import ATTEMPT_ANNOTATION
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef
from tests.integration.status.conftest import Pipeline
from tests.support.client import if_there
from tests.support.manifests import condition, obj
from tests.support.scene import BOUND, PLATFORM, Scene
from tests.support.waiting import until

JOBS = Resource("batch", "v1", "jobs", kind="Job")
WORKLOAD = [{"apiVersion": "batch/v1", "kind": "Job", "name": "nightly"}]


def job(cpu: str = "1", **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    template = {"spec": {"restartPolicy": "Never", "containers": [main]}}
    return obj("Job", "batch/v1", name="nightly", spec={"template": template, **spec})


async def in_target(scene: Scene) -> dict[str, Any] | None:
    return await if_there(scene.targets["east"].get(JOBS, "nightly", "shop"))


async def placed(pipeline: Pipeline, cpu: str = "1", **spec: Any) -> PlacementRef:
    await pipeline.scene.team.create(JOBS, job(cpu, **spec))
    ref = await pipeline.scene.place("nightly", workload=WORKLOAD)
    await pipeline.decide(ref, "east")
    return ref


async def recorded(scene: Scene, ref: PlacementRef, ended: str) -> dict[str, Any]:
    """The PlacementBinding once it has how the Job ended."""

    def holds(found: dict[str, Any] | None) -> bool:
        objects = ((found or {}).get("status") or {}).get("objects") or [{}]
        return bool(objects[0].get("ended", "") == ended)

    found: dict[str, Any] = await until(lambda: scene.binding(ref), holds=holds, within=BOUND)
    return found


async def succeeded(idle: Pipeline, **spec: Any) -> PlacementRef:
    """A Job that ran to its end in its target, as its PlacementBinding has it; binding and status are at work."""
    await idle.start("binding", drift_seconds=0.0)
    await idle.start("status")
    ref = await placed(idle, **spec)
    await recorded(idle.scene, ref, "Succeeded")
    return ref


async def disappears(scene: Scene, ref: PlacementRef) -> None:
    """The cluster deletes the Job, and its PlacementBinding says so."""
    await scene.targets["east"].delete(JOBS, "nightly", "shop")
    gone = "it ran to its end, and is gone"
    await until(lambda: scene.binding(ref), holds=lambda found: gone in str(found), within=BOUND)


def phase(binding: dict[str, Any] | None) -> str:
    return str(((binding or {}).get("status") or {}).get("phase", ""))


def is_other(found: dict[str, Any] | None, before: dict[str, Any]) -> bool:
    return found is not None and bool(found["metadata"]["uid"] != before["metadata"]["uid"])


async def test_a_job_that_ended_and_is_gone_is_done_and_stays_done_when_it_is_decided_again(idle: Pipeline) -> None:
    scene, ref = idle.scene, await succeeded(idle, ttlSecondsAfterFinished=5)
    made = scene.count_requests("target:east")
    await disappears(scene, ref)
    await idle.decide(ref, "east")
    await scene.until(ref, lambda status: condition(status, "Ready").get("status") == "True")
    await scene.team.merge_patch(JOBS, "nightly", {"metadata": {"labels": {"a": "b"}}}, "shop")
    assert await in_target(scene) is None
    assert not [each for each in made if each.startswith(("PATCH", "POST")) and "jobs" in each]


async def test_a_job_with_a_time_to_live_is_not_run_again_where_nobody_saw_how_it_ended(idle: Pipeline) -> None:
    await idle.start("binding", drift_seconds=0.0)
    scene = idle.scene
    ref = await placed(idle, ttlSecondsAfterFinished=0)
    await until(lambda: in_target(scene), holds=bool, within=BOUND)
    await until(lambda: scene.binding(ref), holds=phase, within=BOUND)
    await scene.targets["east"].delete(JOBS, "nightly", "shop")
    await idle.start("status", unseen_seconds=0.0)
    binding = await recorded(scene, ref, "Unseen")
    assert condition(binding["status"], "Available")["status"] == "Unknown"
    assert "which was not seen" in condition(binding["status"], "Available")["message"]
    assert await in_target(scene) is None


async def test_a_job_that_has_not_ended_is_put_back_when_somebody_deletes_it(idle: Pipeline) -> None:
    await idle.start("binding", drift_seconds=0.0)
    await idle.start("status")
    scene = idle.scene
    ref = await placed(idle, cpu="9999")
    first = await until(lambda: in_target(scene), holds=bool, within=BOUND)
    await until(lambda: scene.binding(ref), holds=lambda found: phase(found) == "Ready", within=BOUND)
    await scene.targets["east"].delete(JOBS, "nightly", "shop")
    again = await until(
        lambda: in_target(scene),
        holds=lambda found: found and found["metadata"]["uid"] != first["metadata"]["uid"],
        within=BOUND,
    )
    assert again["metadata"]["name"] == "nightly"


async def test_a_job_that_was_made_anew_in_the_workspace_is_another_run(idle: Pipeline) -> None:
    scene, ref = idle.scene, await succeeded(idle)
    first = await in_target(scene)
    assert first is not None
    await scene.team.delete(JOBS, "nightly", "shop")
    await scene.team.create(JOBS, job())
    await idle.decide(ref, "east")
    again = await until(
        lambda: in_target(scene),
        holds=lambda found: found and found["metadata"]["uid"] != first["metadata"]["uid"],
        within=BOUND,
    )
    assert again["spec"]["template"]["spec"]["containers"][0]["image"] == "x"
    assert (await scene.team.list(BINDINGS, "shop")).items


async def test_a_job_that_is_done_is_not_run_again_for_a_label_of_it(idle: Pipeline) -> None:
    scene, ref = idle.scene, await succeeded(idle)
    await disappears(scene, ref)
    await scene.team.merge_patch(JOBS, "nightly", {"metadata": {"labels": {"a": "b"}}}, "shop")
    head = await idle.decide(ref, "east")
    binding = await applied(scene, ref, head.attempt)
    assert binding["status"]["objects"][0]["ended"] == "Succeeded"
    assert await in_target(scene) is None
    await scene.team.merge_patch(JOBS, "nightly", {"spec": {"suspend": True}}, "shop")
    await idle.decide(ref, "east")
    await until(lambda: in_target(scene), holds=bool, within=BOUND)


async def applied(scene: Scene, ref: PlacementRef, attempt: int, target: str = "east") -> dict[str, Any]:
    """The PlacementBinding once it was applied for an attempt."""

    def holds(found: dict[str, Any] | None) -> bool:
        made_for = ((found or {}).get("metadata") or {}).get("annotations") or {}
        return made_for.get(ATTEMPT_ANNOTATION) == str(attempt) and phase(found) == "Ready"

    found: dict[str, Any] = await until(lambda: scene.binding(ref, target), holds=holds, within=BOUND)
    return found


@pytest.mark.parametrize("after", [(f"{PLATFORM}/west",), ()], ids=["it moves", "its target is lost"])
async def test_a_job_that_is_done_is_not_run_again_where_its_placement_moves(
    idle: Pipeline, after: tuple[str, ...]
) -> None:
    scene, ref = idle.scene, await succeeded(idle)
    await until(lambda: scene.team.get(JOBS, "nightly", "shop"), holds=is_complete, within=BOUND)
    made = scene.count_requests("target:west")
    head = await scene.decide(ref, "west")
    await idle.send(scene.assigned(ref, head, "east", remove=True, after=after))
    await idle.send(scene.assigned(ref, head, "west"))
    await until(lambda: scene.binding(ref), holds=lambda found: found is None, within=BOUND)
    binding = await applied(scene, ref, head.attempt, "west")
    assert binding["status"]["objects"][0]["ended"] == "Succeeded"
    assert await in_target(scene) is None
    again = await idle.decide(ref, "west")
    await applied(scene, ref, again.attempt, "west")
    assert not [each for each in made if each.startswith(("PATCH", "POST")) and "jobs" in each]
    assert is_complete(await scene.team.get(JOBS, "nightly", "shop"))


def is_complete(found: dict[str, Any]) -> bool:
    """Whether the workspace's own Job says so."""
    return condition(found.get("status") or {}, "Complete").get("status") == "True"


async def test_what_ended_and_is_gone_is_not_missed_where_it_is_only_to_be_reported(idle: Pipeline) -> None:
    scene, ref = idle.scene, await succeeded(idle)
    await disappears(scene, ref)
    await scene.team.merge_patch(PLACEMENTS, "nightly", {"spec": {"conflictPolicy": "Report"}}, "shop")
    await scene.team.merge_patch(JOBS, "nightly", {"metadata": {"labels": {"a": "b"}}}, "shop")
    await idle.decide(ref, "east")

    def told(found: dict[str, Any] | None) -> bool:
        return condition((found or {}).get("status") or {}, "Applied").get("reason") == "Reported"

    binding: dict[str, Any] = await until(lambda: scene.binding(ref), holds=told, within=BOUND)
    assert "0 of 0 objects differ" in condition(binding["status"], "Applied")["message"]

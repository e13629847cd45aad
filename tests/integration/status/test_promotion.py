"""The workload's own object on the hub shows how it is in its targets, over real HTTP and for a real kubectl."""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from services.status.settings import StatusSettings
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import DEPLOYMENTS
from tests.integration.status.conftest import Pipeline
from tests.support import kubectl as support
from tests.support.client import if_there
from tests.support.kubectl import needs_kubectl
from tests.support.scene import BOUND, TEAM, Scene, opened
from tests.support.waiting import until

FAIL = "sandbox.moorage.io/fail"


async def status_of(scene: Scene) -> dict[str, Any]:
    found = await if_there(scene.team.get(DEPLOYMENTS, "web", "shop"))
    return (found or {}).get("status") or {}


async def shows(scene: Scene, **wanted: Any) -> dict[str, Any]:
    """The status of the Deployment on the hub, once it shows all of this."""
    found: dict[str, Any] = await until(
        lambda: status_of(scene), holds=lambda status: wanted.items() <= status.items(), within=BOUND
    )
    return found


async def test_a_deployment_shows_its_replicas_summed_over_its_targets_and_nothing_once_it_is_placed_nowhere(
    pipeline: Pipeline,
) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    await pipeline.decide(ref, "east", "west")
    status = await shows(scene, replicas=4, readyReplicas=4, availableReplicas=4, updatedReplicas=4)
    assert status["observedGeneration"] == 1
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Available": "True",
        "Progressing": "True",
    }
    head = await pipeline.decide(ref, "east")
    await pipeline.send(scene.assigned(ref, head, "west", remove=True))
    await shows(scene, replicas=2, readyReplicas=2)
    await scene.team.delete(PLACEMENTS, ref.name, ref.namespace)
    await pipeline.send(scene.assigned(ref, head, "east", remove=True))
    await until(lambda: status_of(scene), holds=lambda status: not status, within=BOUND)


async def test_a_change_is_observed_on_the_hub_once_it_is_rolled_out_in_every_target(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    await pipeline.decide(ref, "east", "west")
    await shows(scene, observedGeneration=1, readyReplicas=4)
    template = {"metadata": {"annotations": {FAIL: "true"}}}
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"template": template}}, "shop")
    head = await scene.decide(ref, "east", "west")
    await pipeline.send(scene.assigned(ref, head, "east"))
    status = await shows(scene, readyReplicas=2)
    assert status["observedGeneration"] == 1
    await pipeline.send(scene.assigned(ref, head, "west"))
    status = await shows(scene, observedGeneration=2, readyReplicas=0)
    stuck = next(each for each in status["conditions"] if each["type"] == "Progressing")
    assert stuck["reason"] == "ProgressDeadlineExceeded"


async def test_what_two_placements_have_of_one_object_is_added_up_and_what_one_leaves_is_not(
    pipeline: Pipeline,
) -> None:
    scene = pipeline.scene
    await scene.workload()
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]
    one, two = await scene.place("one", workload=workload), await scene.place("two", workload=workload)
    head = await pipeline.decide(one, "east")
    await pipeline.decide(two, "west")
    await shows(scene, replicas=4, readyReplicas=4)
    await scene.team.delete(PLACEMENTS, one.name, one.namespace)
    await pipeline.send(scene.assigned(one, head, "east", remove=True))
    await shows(scene, replicas=2, readyReplicas=2, observedGeneration=1)


async def test_what_somebody_else_writes_of_a_status_is_left_to_them(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    theirs = {"status": {"replicas": 7, "observedGeneration": 9}}
    patching = {"subresource": "status", "field_manager": "kube-controller-manager"}
    await scene.team.merge_patch(DEPLOYMENTS, "web", theirs, "shop", **patching)
    ref = await scene.place()
    await pipeline.decide(ref, "east")
    await scene.until(ref, lambda status: status.get("phase") == "Ready")
    assert await status_of(scene) == theirs["status"]


def test_nothing_is_written_where_the_hub_has_controllers_or_nobody_wants_it() -> None:
    assert not StatusSettings(hub="kubernetes").promotes
    assert not StatusSettings(workload_status="Never").promotes
    assert StatusSettings(hub="kubernetes", workload_status="Always").promotes
    assert StatusSettings().promotes


@needs_kubectl
async def test_kubectl_get_and_rollout_status_work_on_the_hub(tmp_path: Path) -> None:
    async with opened(tmp_path, tls=True) as scene, asyncio.TaskGroup() as tasks:
        pipeline = Pipeline(scene, tasks)
        await pipeline.start("binding", "status")
        await _look_with_kubectl(pipeline, tmp_path)
        await pipeline.close()


async def _look_with_kubectl(pipeline: Pipeline, tmp_path: Path) -> None:
    scene = pipeline.scene
    config = yaml.safe_load(scene.ready.kubeconfigs["admin"].read_text())
    cluster = config["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].partition('/clusters/')[0]}/clusters/{TEAM}"
    config["contexts"][0]["context"]["namespace"] = "shop"
    path = tmp_path / "team.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    await scene.workload()
    code, said = await support.kubectl(tmp_path, path, "rollout", "status", "deploy/web", "--timeout=1s")
    assert (code, "Waiting" in said) == (1, True), said
    ref = await scene.place()
    await pipeline.decide(ref, "east", "west")
    await shows(scene, observedGeneration=1, readyReplicas=4)
    code, said = await support.kubectl(tmp_path, path, "rollout", "status", "deploy/web", "--timeout=10s")
    assert (code, "successfully rolled out" in said) == (0, True), said
    code, said = await support.kubectl(tmp_path, path, "get", "deploy", "web")
    assert (code, said.splitlines()[1].split()[1]) == (0, "4"), said

"""What is applied of a workload of which something is not there any more. In the sandbox."""

from collections.abc import Callable
from typing import Any

from services.binding.binder import Binder
from shared.api import decode_placement
from shared.hub.rendering import input_digest, source_hash
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CONFIGMAPS, CRDS, DEPLOYMENTS, Resource
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned
from tests.support.manifests import condition, definition, obj
from tests.support.scene import Scene


async def _decided(scene: Scene, ref: PlacementRef, *objects: dict[str, Any]) -> Assigned:
    """A decision on these objects of the workspace."""
    placement = decode_placement(await scene.team.get(PLACEMENTS, ref.name, "shop"))
    digest = input_digest(placement.spec, [source_hash(each) for each in objects])
    return scene.assigned(ref, await scene.decide(ref, "east", digest=digest), digest=digest)


async def test_a_part_of_the_workload_that_is_gone_is_taken_away_and_the_rest_goes_on(
    scene: Scene, binder: Binder
) -> None:
    web, settings = await scene.workload(), await scene.team.create(CONFIGMAPS, obj("ConfigMap", name="old", data={}))
    both = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "old"},
    ]
    ref = await scene.place(workload=both)
    await scene.insist(binder, await _decided(scene, ref, web, settings))
    assert await scene.managed() == {"Deployment web", "ConfigMap old"}
    await scene.team.delete(CONFIGMAPS, "old", "shop")
    assert await scene.insist(binder, await _decided(scene, ref, web, settings)) is None  # nobody decided on less yet
    assert await scene.managed() == {"Deployment web", "ConfigMap old"}
    web = await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    await scene.insist(binder, await _decided(scene, ref, web))
    assert await scene.managed() == {"Deployment web"}
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert binding is not None
    said = "The workload selects nothing: no ConfigMap named old in namespace shop: it is taken away."
    assert said in condition(binding["status"], "Applied")["message"]


async def test_a_whole_workload_that_is_gone_leaves_what_runs(scene: Scene, binder: Binder) -> None:
    web = await scene.workload()
    ref = await scene.place()
    message = await _decided(scene, ref, web)
    await scene.insist(binder, message)
    await scene.team.delete(DEPLOYMENTS, "web", "shop")
    assert await scene.insist(binder, await _decided(scene, ref, web)) is None
    assert await scene.managed() == {"Deployment web"}
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "Progressing")["reason"] == "AwaitsDecision"


async def test_a_part_whose_kind_is_not_served_any_more_stays_and_the_rest_goes_on(
    scene: Scene, binder: Binder, new_binder: Callable[..., Binder]
) -> None:
    widgets = Resource("example.com", "v1", "widgets", kind="Widget")
    for client in (scene.team, scene.targets["east"]):
        await client.create(CRDS, definition("example.com", "Widget", "v1"))
    web = await scene.workload()
    widget = await scene.team.create(widgets, obj("Widget", widgets.api_version, name="old", spec={}))
    both = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        {"apiVersion": "example.com/v1", "kind": "Widget", "name": "old"},
    ]
    ref = await scene.place(workload=both)
    await scene.insist(binder, await _decided(scene, ref, web, widget))
    await scene.team.delete(CRDS, "widgets.example.com")
    web = await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    await scene.insist(new_binder(), await _decided(scene, ref, web))
    found, kept, binding = await scene.in_target(), await scene.in_target(widgets, "old"), await scene.binding(ref)
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert kept is not None
    assert binding is not None
    assert {each["ref"]["kind"] for each in binding["status"]["objects"]} == {"Deployment", "Widget"}
    said = condition(binding["status"], "Applied")["message"]
    assert "Widget in example.com is not served" in said
    assert said.endswith("what is there of it stays as it was applied.")
    await scene.insist(new_binder(), scene.assigned(ref, await scene.decide(ref), remove=True))
    assert await scene.in_target(widgets, "old") is None

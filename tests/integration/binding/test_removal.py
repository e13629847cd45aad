"""What is deleted in a target and still there: said, and waited for. In the sandbox, and with real controllers."""

from collections.abc import Callable
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import applyset_name
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, Resource
from shared.model.refs import PlacementRef
from tests.integration.binding.places import in_any_target
from tests.support.manifests import condition, obj
from tests.support.scene import TEAM, Scene

pytestmark = in_any_target

HOLD = "example.com/hold"
_FINALIZER: dict[str, Any] = {"metadata": {"finalizers": [HOLD]}}


async def _hold(scene: Scene, resource: Resource = DEPLOYMENTS, name: str = "web", target: str = "east") -> None:
    await scene.targets[target].merge_patch(resource, name, _FINALIZER, "shop")


async def _let_go(scene: Scene, resource: Resource = DEPLOYMENTS, name: str = "web") -> None:
    await scene.targets["east"].merge_patch(resource, name, {"metadata": {"finalizers": None}}, "shop")


async def _placed(scene: Scene, binder: Binder, **spec: Any) -> PlacementRef:
    ref = await scene.place(**spec)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    return ref


async def test_what_a_finalizer_holds_is_removing_and_says_which_object_and_finalizer_until_it_is_gone(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    await scene.workload()
    binder = new_binder(removing_retry_seconds=3.0)
    ref = await _placed(scene, binder)
    await _hold(scene)
    removal = scene.assigned(ref, await scene.decide(ref), remove=True)
    for _ in range(4):
        with pytest.raises(Retry) as retry:
            await binder.bind(removal)
    assert retry.value.delay <= 3.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Removing"
    said = condition(binding["status"], "Applied")
    assert said["reason"] == "Removing"
    assert "Deployment shop/web is being deleted since 20" in said["message"]
    assert said["message"].endswith(f"waits for finalizer {HOLD}")
    assert {each.phase for each in scene.bound} == {"Removing"}
    assert await scene.targets["east"].get(CONFIGMAPS, applyset_name(ref), "moorage-system")
    await _let_go(scene)
    bound = await scene.insist(binder, removal)
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()


async def test_what_a_placement_moved_away_from_is_held_as_long_as_it_is_there(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await _placed(scene, binder)
    await _hold(scene)
    head = await scene.decide(ref, "west")
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    with pytest.raises(Retry, match=HOLD):
        await binder.bind(scene.assigned(ref, head, remove=True))
    assert [each.phase for each in scene.bound] == ["Removing"]


async def test_pods_that_are_ending_count_as_there(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await _placed(scene, binder)
    east = scene.targets["east"]
    owner = await scene.in_target()
    assert owner is not None
    pod = obj("Pod", name="web-0", spec={"containers": [{"name": "web", "image": "nginx"}]})
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}
    pod["metadata"] |= {"ownerReferences": [{**reference, "blockOwnerDeletion": True}], "finalizers": [HOLD]}
    await east.create(PODS, pod)
    removal = scene.assigned(ref, await scene.decide(ref), remove=True)
    with pytest.raises(Retry, match="waits until what it made has ended"):
        await binder.bind(removal)
    await _let_go(scene, PODS, "web-0")
    bound = await scene.insist(binder, removal)
    assert bound is not None
    assert bound.phase == "Removed"


async def test_what_is_selected_no_more_is_said_to_be_there_and_the_rest_is_applied_and_watched(
    scene: Scene, binder: Binder
) -> None:
    await scene.workload()
    await scene.config("old")
    both = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "old"},
    ]
    ref = await _placed(scene, binder, workload=both)
    await _hold(scene, CONFIGMAPS, "old")
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    spec = {"spec": {"workload": both[:1]}}
    await scene.team.merge_patch(PLACEMENTS, "web", spec, "shop")
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry, match=f"ConfigMap shop/old .* waits for finalizer {HOLD}"):
        await binder.bind(message)
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert binding is not None
    assert binding["status"]["phase"] == "Applying"
    assert [each["ref"]["name"] for each in binding["status"]["objects"]] == ["web"]
    assert scene.bound[-1].applied == 0  # so that nothing is given back
    assert [each.ref for each in scene.bound[-1].objects] == ["apps/v1 Deployment shop/web"]
    await _let_go(scene, CONFIGMAPS, "old")
    bound = await scene.insist(binder, message)
    assert bound is not None
    assert bound.phase == "Applied"


async def test_what_somebody_else_had_deleted_is_waited_for_too(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await _placed(scene, binder)
    await _hold(scene)
    await scene.targets["east"].delete(NAMESPACES, "shop")
    removal = scene.assigned(ref, await scene.decide(ref), remove=True)
    with pytest.raises(Retry, match=HOLD):
        await binder.bind(removal)
    await _let_go(scene)
    assert await scene.insist(binder, removal) is not None


async def test_a_namespace_that_is_being_deleted_is_its_own_reason_and_no_lack_of_rights(
    scene: Scene, binder: Binder
) -> None:
    await scene.workload()
    await scene.claim(TEAM)
    await scene.targets["east"].create(CONFIGMAPS, obj("ConfigMap", name="theirs", data={}))
    await _hold(scene, CONFIGMAPS, "theirs")
    await scene.targets["east"].delete(NAMESPACES, "shop")
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry, match="being terminated"):
        await binder.bind(message)
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Applying"
    assert condition(binding["status"], "Applied")["reason"] == "NamespaceTerminating"
    assert "PermissionGranted" not in {each["type"] for each in binding["status"]["conditions"]}
    await _let_go(scene, CONFIGMAPS, "theirs")
    bound = await scene.insist(binder, message)
    assert bound is not None
    assert bound.phase == "Applied"

"""What a target does not let be changed, and what was made anew in the workspace."""

import asyncio
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS, Resource
from shared.model.refs import PlacementRef
from tests.integration.binding.places import in_any_target
from tests.support.manifests import condition, deployment, obj
from tests.support.scene import BOUND, Scene

pytestmark = in_any_target

SETS = Resource("apps", "v1", "statefulsets", kind="StatefulSet")
WORKLOAD = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "settings"}]


async def applied(scene: Scene, binder: Binder, **spec: Any) -> PlacementRef:
    ref = await scene.place(**spec)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    return ref


async def again(scene: Scene, binder: Binder, ref: PlacementRef, *, patient: bool = True) -> str:
    """Apply once more what there is now; the reason why not, or nothing. What is going is given its time."""
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    async with asyncio.timeout(BOUND):
        while True:
            try:
                await binder.bind(message)
            except Retry as retry:
                if "and is ending" in str(retry) or (patient and "what it made" in str(retry)):
                    await asyncio.sleep(0.05)
                    continue
                return str(retry)
            return ""


def immutable(key: str) -> dict[str, Any]:
    return obj("ConfigMap", name="settings", data={"key": key}, immutable=True)


async def test_what_was_made_anew_in_the_workspace_is_made_anew_where_it_cannot_be_changed(
    scene: Scene, binder: Binder
) -> None:
    await scene.team.create(CONFIGMAPS, immutable("old"))
    ref = await applied(scene, binder, workload=WORKLOAD)
    before = await scene.in_target(CONFIGMAPS, "settings")
    await scene.team.delete(CONFIGMAPS, "settings", "shop")
    await scene.team.create(CONFIGMAPS, immutable("new"))
    assert not await again(scene, binder, ref)
    after = await scene.in_target(CONFIGMAPS, "settings")
    assert before is not None
    assert after is not None
    assert (before["data"]["key"], after["data"]["key"]) == ("old", "new")
    assert before["metadata"]["uid"] != after["metadata"]["uid"]
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["objects"][0]["uid"] == after["metadata"]["uid"]


def selecting(label: str) -> dict[str, Any]:
    made = deployment()
    made["spec"]["selector"] = {"matchLabels": {"app": label}}
    made["spec"]["template"]["metadata"]["labels"] = {"app": label}
    return made


@pytest.mark.parametrize("recreate", [False, True])
async def test_a_manifest_that_cannot_be_changed_is_made_anew_only_where_the_placement_says_so(
    scene: Scene, binder: Binder, recreate: bool
) -> None:
    policy = {"onImmutableChange": "Recreate"} if recreate else {}
    ref = await applied(scene, binder, workload=[], manifests=[selecting("old")], **policy)
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"manifests": [selecting("new")]}}, "shop")
    why = await again(scene, binder, ref)
    found = await scene.in_target(DEPLOYMENTS)
    assert found is not None
    label = found["spec"]["selector"]["matchLabels"]["app"]
    if recreate:
        assert (why, label) == ("", "new")
        return
    assert label == "old"
    assert why.startswith("Deployment shop/web: the target does not take spec.selector")
    assert why.endswith("made anew in the workspace, or with onImmutableChange Recreate, it is replaced")
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "Applied")["reason"] == "Invalid"


async def test_what_the_target_would_not_take_either_is_not_deleted_for_it(scene: Scene, binder: Binder) -> None:
    ref = await applied(scene, binder, workload=[], manifests=[selecting("old")], onImmutableChange="Recreate")
    broken = selecting("new")
    broken["spec"]["replicas"] = "many"
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"manifests": [broken]}}, "shop")
    assert await again(scene, binder, ref)
    found = await scene.in_target(DEPLOYMENTS)
    assert found is not None
    assert found["spec"]["selector"]["matchLabels"]["app"] == "old"


def stateful(service: str) -> dict[str, Any]:
    made = deployment()
    room = {"requests": {"storage": "1Gi"}}
    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": room}}]
    return {
        **made,
        "kind": "StatefulSet",
        "spec": {**made["spec"], "serviceName": service, "volumeClaimTemplates": claims},
    }


@pytest.mark.parametrize("recreate", [False, True])
async def test_what_keeps_data_is_made_anew_only_where_the_placement_says_so(
    scene: Scene, binder: Binder, recreate: bool
) -> None:
    workload = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"}]
    policy = {"onImmutableChange": "Recreate"} if recreate else {}
    await scene.team.create(SETS, stateful("old"))
    ref = await applied(scene, binder, workload=workload, **policy)
    await scene.team.delete(SETS, "web", "shop")
    await scene.team.create(SETS, stateful("new"))
    why = await again(scene, binder, ref)
    found = await scene.in_target(SETS)
    assert found is not None
    assert (bool(why), found["spec"]["serviceName"]) == ((False, "new") if recreate else (True, "old"))


async def test_it_is_made_anew_once_its_pods_have_ended_and_says_until_then_what_it_waits_for(
    scene: Scene, binder: Binder
) -> None:
    ref = await applied(scene, binder, workload=[], manifests=[selecting("old")], onImmutableChange="Recreate")
    owner = await scene.in_target(DEPLOYMENTS)
    assert owner is not None
    pod = obj("Pod", name="web-0", spec={"containers": [{"name": "web", "image": "nginx"}]})
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}
    pod["metadata"] |= {"ownerReferences": [{**reference, "blockOwnerDeletion": True}], "finalizers": ["x.io/hold"]}
    await scene.targets["east"].create(PODS, pod)
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"manifests": [selecting("new")]}}, "shop")
    why = await again(scene, binder, ref, patient=False)
    assert why.startswith("it is to be made anew: Deployment shop/web is being deleted since")
    assert why.endswith("and waits until what it made has ended")
    await scene.targets["east"].merge_patch(PODS, "web-0", {"metadata": {"finalizers": None}}, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    after = await scene.in_target(DEPLOYMENTS)
    assert after is not None
    assert after["spec"]["selector"]["matchLabels"] == {"app": "new"}

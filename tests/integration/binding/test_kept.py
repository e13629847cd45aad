"""What the author wrote is kept, what autoscalers set is theirs, and one conflict holds up nothing else."""

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, SERVICES
from tests.support.manifests import condition, deployment, obj
from tests.support.scene import Scene


async def test_node_ports_that_a_manifest_asks_for_are_kept(scene: Scene, binder: Binder) -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}
    ref = await scene.place(workload=[], manifests=[obj("Service", spec=spec)])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.in_target(SERVICES)
    assert found is not None
    assert found["spec"]["ports"][0]["nodePort"] == 30080


async def test_replicas_that_nobody_wrote_are_the_autoscalers_and_a_new_image_arrives(
    scene: Scene, binder: Binder
) -> None:
    bare = deployment()
    del bare["spec"]["replicas"]
    await scene.team.apply(DEPLOYMENTS, bare, field_manager="kubectl")
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    scaled = {"spec": {"replicas": 7}}
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", scaled, "shop", field_manager="autoscaler")
    bare["spec"]["template"]["spec"]["containers"][0]["image"] = "shop/web:2"
    await scene.team.apply(DEPLOYMENTS, bare, field_manager="kubectl")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web:2"
    assert found["spec"]["replicas"] == 7


async def test_a_conflict_on_one_field_holds_up_neither_the_other_fields_nor_the_other_objects(
    scene: Scene, binder: Binder
) -> None:
    await scene.workload(container={"envFrom": [{"configMapRef": {"name": "settings"}}]})
    await scene.config(key="old")
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    for resource, name, patch in (
        (DEPLOYMENTS, "web", {"spec": {"replicas": 7}}),
        (CONFIGMAPS, "settings", {"data": {"key": "theirs"}}),
    ):
        await scene.targets["east"].merge_patch(resource, name, patch, "shop", field_manager="hpa")
    main = {"name": "main", "image": "shop/web:2", "envFrom": [{"configMapRef": {"name": "settings"}}]}
    changed = {"containers": [main]}
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": changed}}}, "shop")
    await scene.team.merge_patch(CONFIGMAPS, "settings", {"data": {"more": "new"}}, "shop")
    with pytest.raises(Retry, match=r"ConfigMap shop/settings: hpa owns .data.key"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    found, settings = await scene.in_target(), await scene.in_target(CONFIGMAPS, "settings")
    assert found is not None
    assert settings is not None
    assert settings["data"] == {"key": "theirs", "more": "new"}
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web:2"
    assert found["spec"]["replicas"] == 7
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "ConflictFree")["status"] == "False"

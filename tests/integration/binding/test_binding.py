"""Binding against real API servers over HTTP (the sandbox): applied, changed, shared, taken back."""

from collections.abc import Callable

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import CLAIM_ANNOTATION, applyset_name, applyset_of, binding_name
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.applyset import APPLYSET_GROUP_KINDS, APPLYSET_ID, APPLYSET_PART_OF
from shared.kube.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICES,
)
from tests.support.manifests import condition, deployment
from tests.support.scene import PLATFORM, RIVAL, TEAM, Scene

ENV_FROM = {"container": {"envFrom": [{"configMapRef": {"name": "settings"}}]}}


async def test_what_is_decided_is_applied_and_recorded(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    bound = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert bound is not None
    assert (bound.phase, [each.ref for each in bound.objects]) == ("Applied", ["apps/v1 Deployment shop/web"])
    found = await scene.in_target()
    assert found is not None
    assert found["metadata"]["labels"][APPLYSET_PART_OF] == applyset_of(ref)
    assert found["metadata"]["annotations"] == {"placement.moorage.io/owner": "root:team|shop|web"}
    binding = await scene.binding(ref)
    assert binding is not None
    assert bound.version == binding["metadata"]["resourceVersion"]
    assert binding["metadata"]["labels"] == {"placement.moorage.io/placement": "web"}
    assert binding["metadata"]["finalizers"] == ["placement.moorage.io/applied"]
    assert binding["metadata"]["annotations"]["placement.moorage.io/attempt"] == "1"
    assert binding["metadata"]["ownerReferences"][0]["name"] == "web"
    assert binding["status"]["objects"][0]["uid"] == found["metadata"]["uid"]
    for name in ("Applied", "ConflictFree", "PermissionGranted"):
        assert condition(binding["status"], name)["status"] == "True"


async def test_the_applyset_names_its_kinds_for_stock_tools(scene: Scene, binder: Binder) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    parent = await scene.targets["east"].get(CONFIGMAPS, applyset_name(ref), "moorage-system")
    assert parent["metadata"]["labels"] == {APPLYSET_ID: applyset_of(ref)}
    assert parent["metadata"]["annotations"][APPLYSET_GROUP_KINDS] == "ConfigMap,Deployment.apps"


async def test_what_the_workload_refers_to_comes_along(scene: Scene, binder: Binder) -> None:
    await scene.workload(
        volumes=[{"name": "tls", "secret": {"secretName": "cert"}}, {"name": "x", "configMap": {"name": "absent"}}],
        **ENV_FROM,
    )
    await scene.config()
    await scene.config("unrelated")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert", "namespace": "shop"}, "data": {}}
    await scene.team.create(SECRETS, secret)
    for name, selector in (("front", {"app": "web"}), ("other", {"app": "other"})):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": selector, "ports": [{"port": 80}], "clusterIP": "10.0.0.7"},
        }
        await scene.team.create(SERVICES, service)
    ref = await scene.place()
    bound = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web", "ConfigMap settings", "Secret cert", "Service front"}
    assert bound is not None
    assert bound.message == "4 objects are applied. ConfigMap absent is not in the workspace."
    front = await scene.in_target(SERVICES, "front")
    assert front is not None
    assert front["spec"].get("clusterIP") != "10.0.0.7"


async def test_without_following_only_the_workload_goes(scene: Scene, binder: Binder) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place(followReferences=False)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web"}


async def test_inline_manifests_and_label_selectors_are_applied(scene: Scene, binder: Binder) -> None:
    for name in ("one", "two"):
        body = deployment(name)
        body["metadata"]["labels"] = {"tier": "back"}
        await scene.team.create(DEPLOYMENTS, body)
    inline = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inline"}, "data": {"a": "b"}}
    selector = {"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": {"matchLabels": {"tier": "back"}}}
    ref = await scene.place(workload=[selector], manifests=[inline])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment one", "Deployment two", "ConfigMap inline"}


async def test_divided_replicas_and_overrides_hold_in_their_target(scene: Scene, binder: Binder) -> None:
    await scene.workload(replicas=9)
    image = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mirror/web:1"}
    overrides = [{"targetSelector": {"matchLabels": {"region": "east"}}, "patches": [image]}]
    ref = await scene.place(replicas={"division": "Weighted"}, overrides=overrides)
    head = await scene.decide(ref, "east", "west", replicas={"east": 4, "west": 5})
    await scene.insist(binder, scene.assigned(ref, head))
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    east, west = await scene.in_target(), await scene.in_target(target="west")
    assert east is not None
    assert west is not None
    images = [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in (east, west)]
    assert images == ["mirror/web:1", "shop/web:1"]
    assert (east["spec"]["replicas"], west["spec"]["replicas"]) == (4, 5)
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["spec"]["overridesApplied"] == ["overrides[0]"]


async def test_a_changed_workload_is_applied_and_what_left_the_set_is_pruned(scene: Scene, binder: Binder) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web", "ConfigMap settings"}
    plain = [{"name": "main", "image": "shop/web:2", "envFrom": []}]
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": {"containers": plain}}}}, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web"}
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web:2"
    parent = await scene.targets["east"].get(CONFIGMAPS, applyset_name(ref), "moorage-system")
    assert parent["metadata"]["annotations"][APPLYSET_GROUP_KINDS] == "Deployment.apps"


async def test_what_is_unchanged_is_left_alone(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    first = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    requests = scene.count_requests("target:east")
    again = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert requests == []
    assert first is not None
    assert again is not None
    assert (again.phase, again.head.attempt) == ("Applied", 2)


async def test_removal_takes_everything_back_but_the_namespace(scene: Scene, binder: Binder) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    bound = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()
    assert await scene.in_target(CONFIGMAPS, applyset_name(ref)) is None
    assert (await scene.targets["east"].get(NAMESPACES, "shop"))["metadata"]["name"] == "shop"


async def test_orphaned_objects_stay_without_our_marks(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place(deletionPolicy="Orphan")
    head = await scene.decide(ref, "east")
    await scene.insist(binder, scene.assigned(ref, head))
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": ["test/keep"]}}, "shop")
    await scene.team.delete(PLACEMENTS, "web", "shop")
    bound = await scene.insist(binder, scene.assigned(ref, head, remove=True))
    assert bound is not None
    assert bound.message == "The objects were left in the target."
    assert await scene.binding(ref) is None
    found = await scene.in_target()
    assert found is not None
    assert found["metadata"]["labels"] == {"app": "web"}
    assert not found["metadata"].get("annotations")


async def test_a_deleted_placement_is_taken_back_whatever_the_message_says(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    await scene.insist(binder, message)
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": ["test/keep"]}}, "shop")
    await scene.team.delete(PLACEMENTS, "web", "shop")
    bound = await scene.insist(binder, message)
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.managed() == set()


async def test_what_two_placements_refer_to_outlives_the_first(scene: Scene, binder: Binder) -> None:
    for name in ("web", "api"):
        await scene.workload(name=name, **ENV_FROM)
    await scene.config()
    web, api = await scene.place("web"), await scene.place("api")
    for ref in (web, api):
        await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.insist(binder, scene.assigned(api, await scene.decide(api), remove=True))
    assert await scene.managed() == {"Deployment web", "ConfigMap settings"}
    found = await scene.in_target(CONFIGMAPS, "settings")
    assert found is not None
    assert found["metadata"]["labels"][APPLYSET_PART_OF] == applyset_of(web)
    await scene.insist(binder, scene.assigned(web, await scene.decide(web), remove=True))
    assert await scene.managed() == set()


async def test_a_field_conflict_names_the_manager_and_takeover_forces(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    foreign = deployment()
    foreign["spec"]["replicas"] = 7
    await scene.agree(adoption="TakeOver")
    await scene.claim(TEAM)
    await scene.targets["east"].apply(DEPLOYMENTS, foreign, field_manager="platform-team")
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry) as retry:
        await binder.bind(message)
    assert retry.value.delay == 60.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Failed"
    assert condition(binding["status"], "ConflictFree")["status"] == "False"
    assert "platform-team owns .spec.replicas" in condition(binding["status"], "ConflictFree")["message"]
    assert [each.phase for each in scene.bound] == ["Failed"]
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"conflictPolicy": "TakeOver"}}, "shop")
    await scene.insist(binder, message)
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert binding is not None
    assert found["spec"]["replicas"] == 2
    assert condition(binding["status"], "ConflictFree")["status"] == "True"


async def test_another_workspace_cannot_take_what_is_placed(scene: Scene, binder: Binder) -> None:
    for workspace in (TEAM, RIVAL):
        await scene.workload(workspace=workspace)
    ours, theirs = await scene.place(), await scene.place(workspace=RIVAL, conflictPolicy="TakeOver")
    await scene.insist(binder, scene.assigned(ours, await scene.decide(ours, "east")))
    claim = {"metadata": {"annotations": {CLAIM_ANNOTATION: RIVAL}}}  # the owner of the target changes its mind
    await scene.targets["east"].merge_patch(NAMESPACES, "shop", claim)
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(theirs, await scene.decide(theirs, "east")))
    binding, found = await scene.binding(theirs), await scene.in_target()
    assert binding is not None
    assert found is not None
    assert "belongs to a Placement of another workspace" in condition(binding["status"], "ConflictFree")["message"]
    assert found["metadata"]["annotations"]["placement.moorage.io/owner"] == "root:team|shop|web"


async def test_a_target_that_does_not_exist_any_more_is_let_go(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.withdraw("east", from_hub=False)
    removal = scene.assigned(ref, await scene.decide(ref), remove=True)
    with pytest.raises(Retry, match="not in the inventory"):
        await binder.bind(removal)
    await scene.withdraw("east", from_hub=True)
    bound = await scene.insist(binder, removal)
    assert bound is not None
    assert "does not exist any more" in bound.message
    assert await scene.binding(ref) is None


async def test_a_removal_waits_until_the_others_have_taken_over(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    await scene.workload()
    binder = new_binder(handover_seconds=30.0)
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    head = await scene.decide(ref, "west")
    removal = scene.assigned(ref, head, remove=True, after=(f"{PLATFORM}/west",))
    with pytest.raises(Retry, match="take over") as soon:
        await binder.bind(removal)
    scene.ahead = 100.0
    with pytest.raises(Retry, match="take over") as later:
        await binder.bind(removal)
    assert 1.0 <= soon.value.delay < 10.0
    assert later.value.delay > 20.0
    scene.ahead = 0.0
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    asked = scene.count_requests(TEAM)
    with pytest.raises(Retry, match="take over"):
        await binder.bind(removal)
    assert asked == [], "no report says yet that it is healthy"
    scene.ahead = 11.0
    with pytest.raises(Retry, match="become healthy"):
        await binder.bind(removal)
    assert await scene.managed() == {"Deployment web"}
    scene.ahead = 31.0
    await scene.insist(binder, removal)
    assert await scene.managed() == set()
    assert await scene.managed("west") == {"Deployment web"}


async def test_a_binding_deleted_by_hand_is_made_anew(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    await scene.insist(binder, message)
    first = await scene.binding(ref)
    await scene.team.delete(BINDINGS, binding_name("web", f"{PLATFORM}/east"), "shop")
    await scene.insist(binder, message)
    again = await scene.binding(ref)
    assert first is not None
    assert again is not None
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert await scene.managed() == {"Deployment web"}


async def test_what_is_not_what_was_decided_is_left_and_nobody_is_told_that_it_was_applied(
    scene: Scene, binder: Binder
) -> None:
    """Whoever heard that would give back what runs on."""
    await scene.workload(replicas=3)
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    smaller = await scene.decide(ref, "east", digest="of fewer replicas, which somebody edited since")
    assert await scene.insist(binder, scene.assigned(ref, smaller, digest="of fewer")) is None
    assert await scene.insist(binder, scene.assigned(ref, smaller, digest="of fewer")) is None
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert binding is not None
    assert found["spec"]["replicas"] == 3
    assert condition(binding["status"], "Progressing")["reason"] == "AwaitsDecision"
    assert binding["status"]["phase"] == "Applied"
    assert scene.bound == []


async def test_what_is_not_what_was_decided_gets_no_binding(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, "east", digest="of another")
    assert await scene.insist(binder, scene.assigned(ref, head, digest="of another")) is None
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()

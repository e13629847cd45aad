"""Rule 8: what existed in a target before us is not ours."""

from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import ADOPTED_ANNOTATION, APPLIER, CLAIM_ANNOTATION, OWNER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    SECRETS,
)
from tests.security.places import in_any_target
from tests.support.manifests import deployment, obj
from tests.support.owning import TAKE_OVER, apply, content, place, refused, remove, stands
from tests.support.scene import RIVAL, TEAM, Scene

pytestmark = in_any_target


async def before_us(scene: Scene, **more: Any) -> dict[str, Any]:
    """The owner's own Deployment, in a namespace that it has given to the team."""
    await scene.claim(TEAM)
    theirs = deployment(**{"replicas": 7, "container": {"image": "owner/web:9"}, **more})
    theirs["metadata"]["labels"] = {"app": "web", "team": "owner"}
    return await scene.targets["east"].apply(DEPLOYMENTS, theirs, field_manager="owner")


@pytest.mark.parametrize("policy", ["Fail", "TakeOver"])
async def test_a_tenant_that_takes_over_what_was_there_before_is_refused_by_default(
    scene: Scene, binder: Binder, policy: str
) -> None:
    theirs = await before_us(scene)
    ref = await place(scene, conflictPolicy=policy)
    said = await refused(scene, binder, ref, "NotOurs")
    assert said.startswith("Deployment shop/web was in the target before")
    await remove(scene, binder, ref)
    assert content(await stands(scene)) == content(theirs)


async def test_a_secret_that_comes_along_does_not_replace_one_that_was_there_before(
    scene: Scene, binder: Binder
) -> None:
    await scene.claim(TEAM)
    theirs = obj("Secret", name="card", stringData={"key": "owner"})
    theirs = await scene.targets["east"].create(SECRETS, theirs, field_manager="owner")
    await scene.team.create(SECRETS, obj("Secret", name="card", stringData={"key": "tenant"}))
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "card"}}]})
    ref = await scene.place(**TAKE_OVER)
    assert "Secret shop/card was in the target before" in await refused(scene, binder, ref, "NotOurs")
    assert await stands(scene, SECRETS, name="card") == theirs


async def test_what_was_taken_over_is_given_back_as_it_was(scene: Scene, binder: Binder) -> None:
    theirs = await before_us(scene)
    await scene.agree(adoption="TakeOver")
    ref = await place(scene, **TAKE_OVER)
    sidecar = {"name": "miner", "image": "tenant/miner:1"}
    mine = deployment(replicas=2)
    mine["spec"]["template"]["spec"]["containers"].append(sidecar)
    mine["metadata"]["labels"] = {"app": "web", "tenant": "team"}
    await scene.team.apply(DEPLOYMENTS, mine, field_manager="moorage", force=True)
    await apply(scene, binder, ref)
    taken, binding = await stands(scene), await scene.binding(ref)
    assert (taken["spec"]["replicas"], len(taken["spec"]["template"]["spec"]["containers"])) == (2, 2)
    assert binding is not None
    assert binding["status"]["objects"][0]["adopted"] is True
    await remove(scene, binder, ref)
    back = await stands(scene)
    assert content(back) == content(theirs)
    assert APPLIER not in {entry["manager"] for entry in back["metadata"]["managedFields"]}


@pytest.mark.parametrize("everything", [True, False])
async def test_what_was_taken_over_survives_also_when_somebody_strips_our_memory_of_it(
    scene: Scene, binder: Binder, everything: bool
) -> None:
    theirs = await before_us(scene)
    await scene.agree(adoption="TakeOver")
    ref = await place(scene, **TAKE_OVER)
    await apply(scene, binder, ref)
    stripped: dict[str, Any] = {"annotations": {ADOPTED_ANNOTATION: None}}
    if everything:
        stripped = {
            "labels": {APPLYSET_PART_OF: None},
            "annotations": {ADOPTED_ANNOTATION: None, OWNER_ANNOTATION: None},
        }
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": stripped}, "shop")
    observed = scene.assigned(ref, await scene.decide(ref, "east"))
    if everything:
        await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "shop")
        await scene.insist(binder, observed)
        assert ADOPTED_ANNOTATION in (await stands(scene))["metadata"]["annotations"]
    await remove(scene, binder, ref)
    assert (await stands(scene))["metadata"]["uid"] == theirs["metadata"]["uid"]


async def test_what_was_there_is_taken_over_if_equal_and_refused_if_not(scene: Scene, binder: Binder) -> None:
    await scene.claim(TEAM)
    await scene.agree(adoption="IfEqual")
    same = obj("ConfigMap", name="same", data={"key": "value", "more": "owner's"})
    other = obj("ConfigMap", name="other", data={"key": "owner's"})
    for each in (same, other):
        await scene.targets["east"].create(CONFIGMAPS, each, field_manager="owner")
    before = await stands(scene, CONFIGMAPS, name="same")
    ref = await place(scene, manifests=[obj("ConfigMap", name="same", data={"key": "value"})], **TAKE_OVER)
    await apply(scene, binder, ref)
    manifests = [
        obj("ConfigMap", name="same", data={"key": "value"}),
        obj("ConfigMap", name="other", data={"key": "x"}),
    ]
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"manifests": manifests}}, "shop")
    assert "ConfigMap shop/other was in the target before: it differs" in await refused(scene, binder, ref, "NotOurs")
    await remove(scene, binder, ref)
    after = await stands(scene, CONFIGMAPS, name="same")
    assert (after["data"], after["metadata"]["uid"]) == (before["data"], before["metadata"]["uid"])
    assert (await stands(scene, CONFIGMAPS, name="other"))["data"] == {"key": "owner's"}


async def test_what_was_taken_over_as_equal_is_not_changed_by_force_later(scene: Scene, binder: Binder) -> None:
    await scene.claim(TEAM)
    await scene.agree(adoption="IfEqual")
    await scene.targets["east"].create(CONFIGMAPS, obj("ConfigMap", data={"key": "a"}), field_manager="owner")
    ref = await place(scene, manifests=[obj("ConfigMap", data={"key": "a"})], **TAKE_OVER)
    await apply(scene, binder, ref)
    changed = [obj("ConfigMap", data={"key": "b"})]
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"manifests": changed}}, "shop")
    with pytest.raises(Retry, match=r"owner owns \.data\.key"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert (await stands(scene, CONFIGMAPS))["data"] == {"key": "a"}


async def test_what_its_owner_made_anew_under_the_same_name_is_not_ours(scene: Scene, binder: Binder) -> None:
    ref = await place(scene, **TAKE_OVER)
    await apply(scene, binder, ref)
    east = scene.targets["east"]
    await east.delete(DEPLOYMENTS, "web", "shop")
    theirs = await east.apply(DEPLOYMENTS, deployment(replicas=9), field_manager="owner")
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "shop")
    await refused(scene, binder, ref, "NotOurs")
    await remove(scene, binder, ref)
    assert content(await stands(scene)) == content(theirs)


@pytest.mark.parametrize("how", ["workload", "manifest", "override"])
async def test_a_tenant_that_writes_our_marks_on_its_objects_gains_nothing(
    scene: Scene, binder: Binder, how: str
) -> None:
    """A forged memory would have its 50 replicas applied when the placement goes, where nobody counts them."""
    forged = {
        ADOPTED_ANNOTATION: '{"spec":{"replicas":50}}',
        OWNER_ANNOTATION: f"{RIVAL}|shop|web",
        CLAIM_ANNOTATION: RIVAL,
    }
    mine = deployment(replicas=2)
    match how:
        case "workload":
            mine["metadata"]["annotations"] = forged
            ref = await place(scene)
            await scene.team.apply(DEPLOYMENTS, mine, field_manager="moorage", force=True)
        case "manifest":
            mine["metadata"] |= {"annotations": forged, "labels": {APPLYSET_PART_OF: "applyset-of-somebody-else"}}
            ref = await place(scene, manifests=[mine])
        case _:
            patch = [{"op": "add", "path": "/metadata/annotations", "value": forged}]
            ref = await place(scene, overrides=[{"patches": patch}])
    await apply(scene, binder, ref)
    found = (await stands(scene))["metadata"]["annotations"]
    assert ADOPTED_ANNOTATION not in found
    assert CLAIM_ANNOTATION not in found
    assert found[OWNER_ANNOTATION] == f"{TEAM}|shop|web"
    await remove(scene, binder, ref)
    assert await stands(scene) is None

"""Rules 6 and 7: whose a namespace is in a target, and what is out of bounds there."""

import asyncio
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import CLAIM_ANNOTATION, OWNER_ANNOTATION
from shared.kube.resources import (
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
)
from shared.pipeline.messages import Bound
from tests.security.places import in_any_target
from tests.support.client import if_there
from tests.support.manifests import condition, deployment, obj
from tests.support.owning import TAKE_OVER, apply, content, kinds, place, refused, remove, stands
from tests.support.scene import RIVAL, TEAM, Scene

pytestmark = in_any_target

ROLE = obj("Role", "rbac.authorization.k8s.io/v1", rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
GRANT = obj(
    "RoleBinding",
    "rbac.authorization.k8s.io/v1",
    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    subjects=[{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
)
TOKEN = obj("Secret", type="kubernetes.io/service-account-token")
TOKEN["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
PLAIN = obj("Secret", type="Opaque", stringData={"key": "value"})
TO_TOKEN = [{"patches": [{"op": "replace", "path": "/type", "value": "kubernetes.io/service-account-token"}]}]


# --- namespaces and kinds that are out of bounds ----------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-anything", "moorage-system", "payments-eu"])
async def test_a_tenant_that_places_into_a_protected_namespace_is_refused(
    scene: Scene, binder: Binder, namespace: str
) -> None:
    await scene.agree(protected_namespaces=("payments-*",), adoption="TakeOver")
    ref = await place(scene, namespace=namespace, **TAKE_OVER)
    said = await refused(scene, binder, ref, "NamespaceProtected")
    assert said == f"nothing may be placed into namespace {namespace} of the target"
    assert await stands(scene, namespace=namespace) is None


async def test_a_tenant_that_takes_over_coredns_neither_changes_nor_deletes_it(scene: Scene, binder: Binder) -> None:
    await scene.agree(adoption="TakeOver")
    east = scene.targets["east"]
    if await if_there(east.get(NAMESPACES, "kube-system")) is None:
        await scene.claim(None, "kube-system")
    await east.apply(DEPLOYMENTS, deployment("web", namespace="kube-system", replicas=5), field_manager="kubeadm")
    before = content(await stands(scene, namespace="kube-system"))
    ref = await place(scene, namespace="kube-system", **TAKE_OVER)
    await refused(scene, binder, ref, "NamespaceProtected")
    await remove(scene, binder, ref)
    assert content(await stands(scene, namespace="kube-system")) == before


@pytest.mark.parametrize("manifest", [ROLE, GRANT, TOKEN], ids=lambda each: each["kind"])
async def test_a_tenant_that_places_what_gives_rights_is_refused_unless_the_owner_lists_the_kind(
    scene: Scene, binder: Binder, manifest: dict[str, Any]
) -> None:
    ref = await place(scene, manifests=[manifest])
    said = await refused(scene, binder, ref, "KindNotAllowed")
    assert said == f"{manifest['kind']} shop/web: the target's owner does not list the kind in allowedKinds"
    assert "shop/web" not in await kinds(scene, manifest["apiVersion"], manifest["kind"])
    group = manifest["apiVersion"].rpartition("/")[0]
    await scene.agree(allowed_kinds=(f"{manifest['kind']}.{group}".rstrip("."),))
    await apply(scene, binder, ref)
    assert "shop/web" in await kinds(scene, manifest["apiVersion"], manifest["kind"])


async def test_a_tenant_that_makes_a_token_of_a_plain_secret_by_an_override_is_refused(
    scene: Scene, binder: Binder
) -> None:
    ref = await place(scene, manifests=[PLAIN], overrides=TO_TOKEN)
    await refused(scene, binder, ref, "KindNotAllowed")
    assert await stands(scene, SECRETS) is None


async def test_a_tenant_that_places_a_namespace_is_refused_whatever_the_owner_lists(
    scene: Scene, binder: Binder
) -> None:
    manifest = obj("Namespace", name="team", namespace="")
    manifest["metadata"]["annotations"] = {CLAIM_ANNOTATION: TEAM}
    await scene.agree(allowed_kinds=("Namespace",))
    ref = await place(scene, manifests=[manifest])
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "Applied")["reason"] == "Unfit"
    assert "/team" not in await kinds(scene, "v1", "Namespace")


# --- whose a namespace is ---------------------------------------------------------------------------------------------


async def test_a_tenant_that_places_into_anothers_namespace_is_refused_and_learns_not_whose_it_is(
    scene: Scene, binder: Binder
) -> None:
    ours, theirs = await place(scene), await place(scene, RIVAL, **TAKE_OVER)
    await apply(scene, binder, ours)
    found = content(await stands(scene))
    said = await refused(scene, binder, theirs, "NamespaceClaimed")
    assert said == "namespace shop of the target belongs to another workspace"
    assert content(await stands(scene)) == found


async def test_a_tenant_that_squats_a_name_keeps_it_in_one_target_only(scene: Scene, binder: Binder) -> None:
    squatter, victim = await place(scene, RIVAL), await place(scene)
    await apply(scene, binder, squatter)
    await refused(scene, binder, victim, "NamespaceClaimed")
    await scene.insist(binder, scene.assigned(victim, await scene.decide(victim, "west"), "west"))
    assert await scene.in_target(target="west") is not None


async def test_a_tenant_that_names_anothers_secret_in_a_target_mounts_nothing(scene: Scene, binder: Binder) -> None:
    await scene.team.create(SECRETS, obj("Secret", name="card", stringData={"key": "4711"}))
    mounting = {"container": {"envFrom": [{"secretRef": {"name": "card", "optional": True}}]}}
    await scene.workload(**mounting)
    await apply(scene, binder, await scene.place())
    assert await stands(scene, SECRETS, name="card") is not None
    await scene.workload(RIVAL, name="thief", **mounting)
    thief = await scene.place("thief", RIVAL)
    await refused(scene, binder, thief, "NamespaceClaimed")
    assert await stands(scene, name="thief") is None


async def test_a_namespace_that_was_there_before_is_nobodys_until_its_owner_gives_it(
    scene: Scene, binder: Binder
) -> None:
    await scene.claim(None)
    ref = await place(scene)
    assert f"annotation {CLAIM_ANNOTATION}" in await refused(scene, binder, ref, "NamespaceClaimed")
    for owner, expected in ((RIVAL, None), (TEAM, "web")):
        given = {"metadata": {"annotations": {CLAIM_ANNOTATION: owner}}}
        await scene.targets["east"].merge_patch(NAMESPACES, "shop", given, field_manager="owner")
        if expected is None:
            await refused(scene, binder, ref, "NamespaceClaimed")
        else:
            await apply(scene, binder, ref)
    assert await stands(scene) is not None


async def test_a_claim_stays_when_nothing_is_placed_any_more_and_is_free_when_its_owner_takes_it_off(
    scene: Scene, binder: Binder
) -> None:
    ours, theirs = await place(scene), await place(scene, RIVAL)
    await apply(scene, binder, ours)
    await remove(scene, binder, ours)
    await refused(scene, binder, theirs, "NamespaceClaimed")
    await scene.targets["east"].merge_patch(NAMESPACES, "shop", {"metadata": {"annotations": {CLAIM_ANNOTATION: None}}})
    await apply(scene, binder, theirs)
    found = await scene.targets["east"].get(NAMESPACES, "shop")
    assert found["metadata"]["annotations"][CLAIM_ANNOTATION] == RIVAL


async def test_of_two_tenants_that_race_for_a_namespace_one_has_it(scene: Scene, binder: Binder) -> None:
    refs = [await place(scene), await place(scene, RIVAL)]
    heads = [await scene.decide(ref, "east") for ref in refs]
    racing = [binder.bind(scene.assigned(ref, head)) for ref, head in zip(refs, heads, strict=True)]
    ended = await asyncio.gather(*racing, return_exceptions=True)
    [loser] = [ref for ref, end in zip(refs, ended, strict=True) if isinstance(end, Retry)]
    [winner] = [ref for ref in refs if ref != loser]
    assert isinstance(ended[refs.index(winner)], Bound)
    await refused(scene, binder, loser, "NamespaceClaimed")
    found = await stands(scene)
    assert found["metadata"]["annotations"][OWNER_ANNOTATION] == f"{winner.workspace}|shop|web"


async def test_with_namespaces_per_workspace_two_tenants_share_a_name_and_nothing_else(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(per_workspace=True)
    ours, theirs = await place(scene), await place(scene, RIVAL)
    for ref in (ours, theirs):
        await apply(scene, binder, ref)
    found = await kinds(scene, "apps/v1", "Deployment")
    spaces = {each.partition("/")[0] for each in found if each.startswith("shop-")}
    assert len(spaces) == 2
    binding = await scene.binding(ours)
    assert binding is not None
    assert binding["status"]["objects"][0]["ref"]["namespace"] in spaces
    await remove(scene, binder, ours)
    assert len([each for each in await kinds(scene, "apps/v1", "Deployment") if each.startswith("shop-")]) == 1


async def test_what_lies_under_the_old_name_goes_when_the_owner_changes_how_namespaces_are_named(
    scene: Scene, binder: Binder
) -> None:
    ref = await place(scene)
    await apply(scene, binder, ref)
    await scene.agree(per_workspace=True)
    await apply(scene, binder, ref)
    assert await stands(scene) is None
    assert len([each for each in await kinds(scene, "apps/v1", "Deployment") if each.startswith("shop-")]) == 1

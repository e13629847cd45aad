"""Rules 5 to 8: what a requester may read, and what a target's owner decides."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import ADOPTED_ANNOTATION, APPLIER, CLAIM_ANNOTATION, OWNER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.kube.apis import RestMapper
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import (
    CLUSTERROLEBINDINGS,
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICES,
)
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Bound
from shared.process import audit
from tests.support.binders import binders
from tests.support.client import if_there
from tests.support.grants import ACCESS, PLACING, USING, grant
from tests.support.manifests import condition, deployment, obj, placement
from tests.support.scene import RIVAL, TEAM, Scene, opened

TAKE_OVER = {"conflictPolicy": "TakeOver"}
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


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene


@pytest.fixture
async def binder(scene: Scene) -> AsyncIterator[Binder]:
    async with binders(scene) as make:
        yield make()


async def place(scene: Scene, workspace: str = TEAM, namespace: str = "shop", **spec: Any) -> PlacementRef:
    """A Placement of what there is under the name web, in any namespace."""
    client = scene.hub.cluster(workspace)
    if await if_there(client.get(NAMESPACES, namespace)) is None:
        await client.create(NAMESPACES, obj("Namespace", name=namespace, namespace=""))
    if "manifests" in spec:
        spec = {"workload": [], **spec}
    else:
        await client.create(DEPLOYMENTS, deployment(namespace=namespace, replicas=2))
    await client.create(PLACEMENTS, placement(namespace=namespace, **spec))
    return PlacementRef(workspace=workspace, namespace=namespace, name="web")


async def apply(scene: Scene, binder: Binder, ref: PlacementRef) -> Bound | None:
    return await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))


async def remove(scene: Scene, binder: Binder, ref: PlacementRef) -> None:
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))


async def refused(scene: Scene, binder: Binder, ref: PlacementRef, reason: str) -> str:
    """Have a placement refused by binding, for this reason, with a line in the audit log; the sentence that says so."""
    before = audit.refusals.total()
    with pytest.raises(Retry) as retry:
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert retry.value.delay == 60.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Failed"
    said = condition(binding["status"], "Applied")
    assert said["reason"] == reason
    assert audit.refusals.total() == before + 1
    return str(said["message"])


async def stands(scene: Scene, resource: Any = DEPLOYMENTS, namespace: str = "shop", name: str = "web") -> Any:
    return await if_there(scene.targets["east"].get(resource, name, namespace))


def content(obj: dict[str, Any]) -> tuple[Any, ...]:
    """Of a Deployment, what its owner wrote, and that it is the same one."""
    metadata = obj["metadata"]
    return obj["spec"], metadata.get("labels"), metadata.get("annotations") or {}, metadata["uid"]


async def kinds(scene: Scene, api_version: str, kind: str) -> list[str]:
    east = scene.targets["east"]
    page = await east.list(await RestMapper(east).resource(api_version, kind))
    return [f"{each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in page.items]


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


@pytest.mark.parametrize("kind", ["Namespace", "ClusterRole"])
async def test_a_tenant_that_places_what_has_no_namespace_is_refused_whatever_the_owner_lists(
    scene: Scene, binder: Binder, kind: str
) -> None:
    group = {"Namespace": "v1", "ClusterRole": "rbac.authorization.k8s.io/v1"}[kind]
    manifest = obj(kind, group, name="team", namespace="")
    manifest["metadata"]["annotations"] = {CLAIM_ANNOTATION: TEAM}
    await scene.agree(allowed_kinds=("Namespace", "ClusterRole.rbac.authorization.k8s.io"))
    ref = await place(scene, manifests=[manifest])
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "Applied")["reason"] == "ClusterScoped"
    assert "/team" not in await kinds(scene, group, kind)


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
    ours, theirs = await place(scene), await place(scene, RIVAL)
    raced = False

    async def faster(request: Any) -> None:
        nonlocal raced
        if request.method == "POST" and request.path == "/clusters/target:east/api/v1/namespaces" and not raced:
            raced = True
            await apply(scene, binder, theirs)

    scene.tap(before=faster)
    await refused(scene, binder, ours, "NamespaceClaimed")
    found = await stands(scene)
    assert found["metadata"]["annotations"][OWNER_ANNOTATION] == f"{RIVAL}|shop|web"


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


# --- what was there before --------------------------------------------------------------------------------------------


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


# --- what the requester may read --------------------------------------------------------------------------------------


def reading(*resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["get"], **more}


@pytest.fixture
async def tess(scene: Scene) -> AsyncIterator[Client]:
    """Somebody of the team who may place, may get Deployments and the Secret `hers`, and may use the targets."""
    await grant(
        scene.team,
        "tess",
        ACCESS,
        PLACING,
        reading("deployments", group="apps"),
        reading("secrets", resourceNames=["hers"]),
    )
    await grant(scene.platform, "tess", ACCESS, USING)
    for name in ("hers", "card"):
        secret = obj("Secret", name=name, stringData={"key": "4711"})
        secret["metadata"]["labels"] = {"app": "web"}
        await scene.team.create(SECRETS, secret)
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    token = scene.ready.sandbox.add_user("tess")
    async with Client(dataclasses.replace(credentials, token=token)) as client:
        yield client.cluster(TEAM)


ENV_FROM = [{"secretRef": {"name": "card"}}]
SECRET = {"apiVersion": "v1", "kind": "Secret"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"workload": [{**SECRET, "name": "card"}]}, "requester may not get Secret shop/card"),
        ({"workload": [{**SECRET, "name": "none"}]}, "requester may not get Secret shop/none"),
        (
            {"workload": [{**SECRET, "labelSelector": {"matchLabels": {"app": "web"}}}]},
            "requester may not get all Secret objects in namespace shop",
        ),
        (
            {"workload": [], "manifests": [deployment(container={"envFrom": ENV_FROM})]},
            "requester may not get Secret shop/card",
        ),
        (
            {"workload": [], "manifests": [deployment(volumes=[{"name": "v", "secret": {"secretName": "card"}}])]},
            "requester may not get Secret shop/card",
        ),
        (
            {"workload": [], "manifests": [deployment(imagePullSecrets=[{"name": "none"}])]},
            "requester may not get Secret shop/none",
        ),
    ],
)
async def test_a_tenant_that_may_not_get_a_secret_has_it_copied_nowhere(
    scene: Scene, binder: Binder, tess: Client, spec: dict[str, Any], said: str
) -> None:
    await tess.create(PLACEMENTS, placement(**spec))
    ref = PlacementRef(workspace=TEAM, namespace="shop", name="web")
    assert await refused(scene, binder, ref, "NotReadable") == said
    assert await stands(scene, SECRETS, name="card") is None


async def test_a_tenant_places_what_it_may_get_and_services_that_it_may_not_stay_behind(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    selector = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await scene.team.create(SERVICES, obj("Service", name="hidden", spec=selector))
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "hers"}}]})
    await tess.create(PLACEMENTS, placement())
    ref = PlacementRef(workspace=TEAM, namespace="shop", name="web")
    await apply(scene, binder, ref)
    assert await scene.managed() == {"Deployment web", "Secret hers"}
    binding = await scene.binding(ref)
    assert binding is not None
    said = condition(binding["status"], "Applied")["message"]
    assert "1 Services are left out that the requester may not get." in said


async def test_what_a_requester_may_not_get_any_more_is_not_copied_again(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "hers"}}]})
    await tess.create(PLACEMENTS, placement())
    ref = PlacementRef(workspace=TEAM, namespace="shop", name="web")
    await apply(scene, binder, ref)
    await scene.team.delete(CLUSTERROLEBINDINGS, "tess-4")
    await scene.team.merge_patch(SECRETS, "hers", {"stringData": {"key": "new"}}, "shop")
    before = await stands(scene, SECRETS, name="hers")
    scene.ahead += 400  # what was allowed is remembered for five minutes
    await refused(scene, binder, ref, "NotReadable")
    assert await stands(scene, SECRETS, name="hers") == before


async def test_an_admin_is_asked_about_once_for_everything_that_is_placed(scene: Scene, binder: Binder) -> None:
    for name in ("a", "b"):
        await scene.team.create(SECRETS, obj("Secret", name=name, stringData={"key": "x"}))
        await scene.config(name)
    sources = [{kind: {"name": name}} for kind in ("secretRef", "configMapRef") for name in ("a", "b")]
    await scene.workload(container={"envFrom": sources})
    asked = scene.count_requests(TEAM)
    ref = await scene.place()
    await apply(scene, binder, ref)
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    await apply(scene, binder, ref)
    assert len([each for each in asked if each.endswith("/subjectaccessreviews")]) == 1

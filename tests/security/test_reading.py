"""Rule 5: what is placed for a requester, it may get."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.api import decode_placement
from shared.hub.rendering import input_digest, source_hash
from shared.hub.resources import PLACEMENTS
from shared.kube.client import Client
from shared.kube.resources import (
    CLUSTERROLEBINDINGS,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICES,
    SUBJECTACCESSREVIEWS,
    Resource,
)
from shared.model.refs import PlacementRef
from tests.security.places import on_any_hub
from tests.support.grants import ACCESS, PLACING, USING, grant
from tests.support.manifests import condition, deployment, obj, placement
from tests.support.owning import apply, refused, stands
from tests.support.scene import TEAM, Scene
from tests.support.waiting import until


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
    await until(lambda: may(scene, "get", "secrets", "hers"))
    await until(lambda: may(scene, "use", "synctargets", "east", group=PLACEMENTS.group))
    async with Client(scene.login("tess")) as client:
        yield client.cluster(scene.home)


async def may(scene: Scene, verb: str, resource: str, name: str, group: str = "") -> bool:
    """What the server says of tess; a real one takes a moment to hear of changes."""
    client, namespace = (scene.team, "shop") if not group else (scene.platform, "")
    what = {"verb": verb, "resource": resource, "name": name, "group": group, "namespace": namespace}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    asked = {**review, "spec": {"user": "tess", "groups": ["system:authenticated"], "resourceAttributes": what}}
    return bool((await client.create(SUBJECTACCESSREVIEWS, asked))["status"]["allowed"])


ROLES = Resource(CLUSTERROLEBINDINGS.group, "v1", "roles", kind="Role")
ROLEBINDINGS = Resource(CLUSTERROLEBINDINGS.group, "v1", "rolebindings", kind="RoleBinding")
ENV_FROM = [{"secretRef": {"name": "card"}}]


SECRET = {"apiVersion": "v1", "kind": "Secret"}


@on_any_hub
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
    ref = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    assert await refused(scene, binder, ref, "NotReadable") == said
    assert await stands(scene, SECRETS, name="card") is None


@on_any_hub
async def test_who_may_read_all_of_a_namespace_may_not_read_what_is_in_none(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    api = CLUSTERROLEBINDINGS.api_version
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    await scene.team.create(ROLES, obj("Role", api, name="all", rules=rules))
    ref = {"apiGroup": CLUSTERROLEBINDINGS.group, "kind": "Role", "name": "all"}
    subjects = [{"kind": "User", "name": "tess", "apiGroup": CLUSTERROLEBINDINGS.group}]
    await scene.team.create(ROLEBINDINGS, obj("RoleBinding", api, name="all", roleRef=ref, subjects=subjects))
    await until(lambda: may(scene, "get", "secrets", "card"))
    await tess.create(PLACEMENTS, placement(workload=[{"apiVersion": api, "kind": "ClusterRole", "name": "admin"}]))
    placed = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    assert await refused(scene, binder, placed, "NotReadable") == "requester may not get ClusterRole admin"


@on_any_hub
async def test_a_tenant_places_what_it_may_get_and_services_that_it_may_not_stay_behind(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    selector = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await scene.team.create(SERVICES, obj("Service", name="hidden", spec=selector))
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "hers"}}]})
    await tess.create(PLACEMENTS, placement())
    ref = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    await apply(scene, binder, ref)
    assert await scene.managed() == {"Deployment web", "Secret hers"}
    binding = await scene.binding(ref)
    assert binding is not None
    said = condition(binding["status"], "Applied")["message"]
    assert "1 Services are left out that the requester may not get." in said


@on_any_hub
async def test_what_a_requester_may_not_get_any_more_is_not_copied_again(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    await scene.workload(container={"envFrom": [{"secretRef": {"name": "hers"}}]})
    await tess.create(PLACEMENTS, placement())
    ref = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    await apply(scene, binder, ref)
    await scene.team.delete(CLUSTERROLEBINDINGS, "tess-4")
    await until(lambda: may(scene, "get", "secrets", "hers"), holds=lambda said: not said)
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


async def test_labels_of_a_namespace_that_the_requester_may_not_get_are_not_carried(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    await scene.agree(namespace_labels=("*",))
    await scene.team.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "gold"}}})
    await scene.workload()
    await tess.create(PLACEMENTS, placement())
    ref = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    await apply(scene, binder, ref)
    found, binding = await scene.targets["east"].get(NAMESPACES, "shop"), await scene.binding(ref)
    assert binding is not None
    assert "tier" not in (found["metadata"].get("labels") or {})
    assert "the requester may not get Namespace shop" in condition(binding["status"], "Applied")["message"]


@on_any_hub
async def test_of_a_workload_the_rest_goes_on_while_a_requester_may_not_get_a_part_of_it(
    scene: Scene, binder: Binder, tess: Client
) -> None:
    web = await scene.workload()
    hers = await scene.team.get(SECRETS, "hers", "shop")
    both = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, {**SECRET, "name": "hers"}]
    await tess.create(PLACEMENTS, placement(workload=both))
    ref = PlacementRef(workspace=scene.home, namespace="shop", name="web")
    await _apply(scene, binder, ref, web, hers)
    applied = await stands(scene, SECRETS, name="hers")
    assert applied is not None

    await grant(scene.team, "tess", ACCESS, PLACING, reading("deployments", group="apps"))
    await scene.team.delete(CLUSTERROLEBINDINGS, "tess-4")
    await until(lambda: may(scene, "get", "secrets", "hers"), holds=lambda said: not said)
    hers = await scene.team.merge_patch(SECRETS, "hers", {"stringData": {"key": "new"}}, "shop")
    web = await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    scene.ahead += 400  # what was allowed is remembered for five minutes
    await _apply(scene, binder, ref, web)
    found, kept, binding = await stands(scene), await stands(scene, SECRETS, name="hers"), await scene.binding(ref)
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert kept == applied
    assert binding is not None
    assert [each["ref"]["name"] for each in binding["status"]["objects"]] == ["web", "hers"]
    said = "requester may not get Secret shop/hers: what is there of it stays as it was applied."
    assert said in condition(binding["status"], "Applied")["message"]

    await grant(scene.team, "tess", reading("secrets", resourceNames=["hers"]))
    await until(lambda: may(scene, "get", "secrets", "hers"))
    scene.ahead += 400
    await _apply(scene, binder, ref, web, hers)
    again = await stands(scene, SECRETS, name="hers")
    assert again is not None
    assert again["data"] == hers["data"]
    binding = await scene.binding(ref)
    assert "stays as it was applied" not in str(binding)

    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    assert await stands(scene, SECRETS, name="hers") is None


async def _apply(scene: Scene, binder: Binder, ref: PlacementRef, *objects: dict[str, Any]) -> None:
    """Apply what was decided on these objects."""
    spec = decode_placement(await scene.team.get(PLACEMENTS, ref.name, "shop")).spec
    digest = input_digest(spec, [source_hash(each) for each in objects])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east", digest=digest), digest=digest))

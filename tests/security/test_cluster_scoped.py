"""What has no namespace belongs to a whole cluster: its owner consents by kind, and nothing of others is touched."""

import copy
from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import OWNER_ANNOTATION
from shared.hub.scope import overreach
from shared.kube.resources import CLUSTERROLES, CONFIGMAPS, CRDS, Resource
from shared.model.target import ApiKind
from tests.security.places import in_any_target
from tests.support.client import if_there
from tests.support.manifests import condition, definition, obj
from tests.support.owning import TAKE_OVER, apply, place, refused, remove
from tests.support.scene import RIVAL, Scene
from tests.support.waiting import until

pytestmark = in_any_target

RBAC = "rbac.authorization.k8s.io"
NAME = "moorage-test"
ROLE = obj("ClusterRole", f"{RBAC}/v1", name=NAME, rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
OTHER = {**ROLE, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
WIDGETS = Resource("tests.moorage.example.com", "v1alpha1", "widgets", kind="Widget")
DEFINED = definition(WIDGETS.group, "Widget")
WIDGET = obj("Widget", WIDGETS.api_version, name="web", spec={"size": 1})
CONFIG = obj("ConfigMap", name="beside", data={"a": "b"})
APIS = (
    ApiKind(group=RBAC, resource="clusterroles", kind="ClusterRole", versions=("v1",), namespaced=False),
    ApiKind(group=CRDS.group, resource=CRDS.plural, kind=CRDS.kind, versions=("v1",), namespaced=False),
)
LISTED = {
    "apis": APIS,
    "allowed_kinds": (f"ClusterRole.{RBAC}", f"CustomResourceDefinition.{CRDS.group}"),
    "adoption": "TakeOver",
}


@pytest.fixture(autouse=True)
async def clean(scene: Scene) -> Any:
    yield
    east = scene.targets["east"]
    await if_there(east.delete(CLUSTERROLES, NAME))
    await if_there(east.delete(CRDS, DEFINED["metadata"]["name"]))


async def there(scene: Scene, resource: Resource, name: str) -> Any:
    return await if_there(scene.targets["east"].get(resource, name, "shop" if resource.namespaced else ""))


async def test_a_tenant_that_places_what_has_no_namespace_is_refused_unless_the_owner_lists_the_kind(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(apis=APIS, adoption="TakeOver")
    said = await refused(scene, binder, await place(scene, manifests=[ROLE], **TAKE_OVER), "KindNotAllowed")
    assert said == f"ClusterRole {NAME}: the target's owner does not list the kind in allowedKinds"
    assert await there(scene, CLUSTERROLES, NAME) is None


async def test_what_the_owner_lists_is_owned_followed_and_removed_like_anything_else(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(**LISTED)
    ref = await place(scene, manifests=[ROLE, CONFIG])
    await apply(scene, binder, ref)
    found = await there(scene, CLUSTERROLES, NAME)
    assert found["rules"] == ROLE["rules"]
    assert OWNER_ANNOTATION in found["metadata"]["annotations"]
    binding = await scene.binding(ref)
    assert binding is not None
    named = {each["ref"]["kind"]: each["ref"].get("namespace", "") for each in binding["status"]["objects"]}
    assert named == {"ClusterRole": "", "ConfigMap": "shop"}
    await remove(scene, binder, ref)
    assert await there(scene, CLUSTERROLES, NAME) is None


async def test_of_two_workspaces_that_place_one_name_the_second_is_told_and_changes_nothing(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(**LISTED, per_workspace=True)
    first = await place(scene, manifests=[ROLE])
    await apply(scene, binder, first)
    before = await there(scene, CLUSTERROLES, NAME)
    second = await place(scene, RIVAL, manifests=[OTHER], **TAKE_OVER)
    said = await refused(scene, binder, second, "OwnedByOther")
    assert said == f"ClusterRole {NAME} in the target belongs to a Placement of another workspace"
    await remove(scene, binder, second)
    after = await there(scene, CLUSTERROLES, NAME)
    assert (after["rules"], after["metadata"]["uid"]) == (before["rules"], before["metadata"]["uid"])


async def test_what_was_there_before_is_never_taken_over_whatever_the_owner_lets_be_adopted(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(**LISTED)
    await scene.targets["east"].create(CLUSTERROLES, {**ROLE, "metadata": {"name": NAME}})
    ref = await place(scene, manifests=[OTHER], **TAKE_OVER)
    said = await refused(scene, binder, ref, "NotOurs")
    assert said == f"ClusterRole {NAME} was in the target before: what has no namespace is never taken over"
    await remove(scene, binder, ref)
    assert (await there(scene, CLUSTERROLES, NAME))["rules"] == ROLE["rules"]


# --- definitions and custom resources ---------------------------------------------------------------------------------


async def test_a_definition_and_its_custom_resource_are_placed_in_one_and_removed_in_turn(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(**LISTED)
    ref = await place(scene, manifests=[WIDGET, DEFINED, CONFIG])
    await apply(scene, binder, ref)
    assert (await there(scene, WIDGETS, "web"))["spec"] == {"size": 1}
    established = condition((await there(scene, CRDS, DEFINED["metadata"]["name"]))["status"], "Established")
    assert established["status"] == "True"
    await remove(scene, binder, ref)
    assert await there(scene, CONFIGMAPS, "beside") is None


async def test_a_definition_stays_while_others_have_objects_of_its_kind_and_the_placement_says_why(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(**LISTED)
    ref = await place(scene, manifests=[DEFINED, CONFIG])
    await apply(scene, binder, ref)
    east = scene.targets["east"]
    others = {**WIDGET, "metadata": {"name": "others", "namespace": "default"}}
    await until(lambda: if_there(east.create(WIDGETS, others)))  # until it is served
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref), remove=True))
    assert (await if_there(east.get(WIDGETS, "others", "default")))["spec"] == {"size": 1}
    assert await there(scene, CONFIGMAPS, "beside") is None
    binding = await scene.binding(ref)
    assert binding is not None
    text = " ".join(each.get("message", "") for each in binding["status"]["conditions"])
    assert f"{DEFINED['metadata']['name']} stays while there are objects of its kind" in text
    await east.delete(WIDGETS, "others", "default")
    await remove(scene, binder, ref)


# --- what reaches beyond its kind -------------------------------------------------------------------------------------


def _with(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = copy.deepcopy(base)
    for path, value in more.items():
        *steps, last = path.split("__")
        inner = found
        for step in steps:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return found


ATTACKS = {
    "system role": _with(ROLE, metadata__name="system:node"),
    "aggregated role": _with(ROLE, metadata__labels={f"{RBAC}/aggregate-to-view": "true"}),
    "aggregated otherwise": _with(ROLE, metadata__labels={"example.com/aggregate-to-monitoring": "yes"}),
    "system binding": obj("ClusterRoleBinding", f"{RBAC}/v1", name="system:basic-user"),
    "default priority": obj("PriorityClass", "scheduling.k8s.io/v1", name="mine", value=1, globalDefault=True),
    "system priority": obj("PriorityClass", "scheduling.k8s.io/v1", name="system-node-critical", value=1),
    "default storage": _with(
        obj("StorageClass", "storage.k8s.io/v1", name="mine"),
        metadata__annotations={"storageclass.kubernetes.io/is-default-class": "true"},
    ),
    "webhook": _with(DEFINED, spec__conversion={"strategy": "Webhook", "webhook": {}}),
    "kubernetes' group": definition("gateway.networking.k8s.io", "Gateway"),
    "our group": definition("placement.moorage.io", "Placement"),
    "namespace": obj("Namespace", name="kube-system", namespace=""),
    "api service": obj("APIService", "apiregistration.k8s.io/v1", name="v1.apps", namespace=""),
    "csr": obj("CertificateSigningRequest", "certificates.k8s.io/v1", name="admin", namespace=""),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_reaches_beyond_its_kind_is_refused_whatever_the_owner_lists(
    scene: Scene, binder: Binder, attack: str
) -> None:
    manifest = ATTACKS[attack]
    group = manifest["apiVersion"].rpartition("/")[0]
    kind = f"{manifest['kind']}.{group}" if group else manifest["kind"]
    await scene.agree(**{**LISTED, "allowed_kinds": (*LISTED["allowed_kinds"], kind)})
    ref = await place(scene, manifests=[manifest], **TAKE_OVER)
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    binding = await scene.binding(ref)
    assert binding is not None
    said = condition(binding["status"], "Applied")
    assert (said["reason"], overreach(manifest) in said["message"]) == ("Unfit", True)

"""What comes along, and what never does."""

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.kube.resources import CONFIGMAPS, SECRETS, SERVICES, Resource
from tests.support.manifests import deployment, obj
from tests.support.scene import Scene

ACCOUNTS = Resource("", "v1", "serviceaccounts", kind="ServiceAccount")
SETS = Resource("apps", "v1", "statefulsets", kind="StatefulSet")


async def test_a_service_account_brings_its_pull_secrets_or_a_note_says_what_is_missing(
    scene: Scene, binder: Binder
) -> None:
    pulls = [{"name": "pull"}, {"name": "absent"}]
    await scene.team.create(ACCOUNTS, obj("ServiceAccount", name="runner", imagePullSecrets=pulls))
    await scene.team.create(SECRETS, obj("Secret", name="pull", data={}))
    await scene.workload(serviceAccountName="runner")
    ref = await scene.place()
    bound = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert bound is not None
    assert bound.message == "3 objects are applied. Secret absent is not in the workspace."
    assert await scene.managed() == {"Deployment web", "Secret pull"}


async def test_what_came_along_and_is_gone_from_the_workspace_is_taken_away_with_a_note(
    scene: Scene, binder: Binder
) -> None:
    await scene.config()
    await scene.workload(container={"envFrom": [{"configMapRef": {"name": "settings"}}]})
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web", "ConfigMap settings"}
    await scene.team.delete(CONFIGMAPS, "settings", "shop")
    bound = await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert bound is not None
    assert bound.message == "1 objects are applied. ConfigMap settings is not in the workspace."
    assert await scene.managed() == {"Deployment web"}


async def test_the_service_that_a_stateful_set_names_comes_along_without_a_selector(
    scene: Scene, binder: Binder
) -> None:
    service = obj("Service", name="peers", spec={"ports": [{"port": 80}], "clusterIP": "None"})
    await scene.team.create(SERVICES, service)
    made = deployment()
    await scene.team.create(SETS, {**made, "kind": "StatefulSet", "spec": {**made["spec"], "serviceName": "peers"}})
    ref = await scene.place(workload=[{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"}])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Service peers"}


async def test_what_clusters_make_themselves_is_not_selected_by_any_label(scene: Scene, binder: Binder) -> None:
    await scene.config()
    await scene.config("kube-root-ca.crt")
    ref = await scene.place(workload=[{"apiVersion": "v1", "kind": "ConfigMap", "labelSelector": {}}])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"ConfigMap settings"}
    assert await scene.in_target(CONFIGMAPS, "kube-root-ca.crt") is None


async def test_nor_is_it_placed_by_its_name_or_as_a_manifest(scene: Scene, binder: Binder) -> None:
    ref = await scene.place(workload=[], manifests=[obj("ConfigMap", name="kube-root-ca.crt", data={"ca.crt": "x"})])
    head = await scene.decide(ref, "east")
    with pytest.raises(Retry, match=r"ConfigMap kube-root-ca.crt is made by each cluster itself"):
        await binder.bind(scene.assigned(ref, head))
    assert await scene.in_target(CONFIGMAPS, "kube-root-ca.crt") is None

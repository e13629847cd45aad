"""A workload of a placement that runs, of which something is not there any more."""

import dataclasses
from collections.abc import Callable

from shared.api import Count
from shared.hub.resources import PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CLUSTERROLEBINDINGS, CONFIGMAPS, CRDS, DEPLOYMENTS
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Requested
from tests.integration.controller.conftest import Bus, at_work
from tests.integration.controller.test_lacking import WIDGETS
from tests.support.binders import binders
from tests.support.grants import ACCESS, PLACING, USING, grant
from tests.support.manifests import definition, obj, placement
from tests.support.scene import TEAM, Scene
from tests.support.waiting import until

BOTH = [
    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings"},
]


async def test_what_is_left_of_a_workload_is_decided_on_and_the_whole_is_left_as_it_is_when_it_is_gone(
    scene: Scene,
) -> None:
    await scene.workload()
    await scene.config()
    async with at_work(scene) as bus:
        ref = await scene.place(workload=BOTH)
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert len(said.request.workload) == 2
        await scene.decide(ref, "east")

        await scene.team.delete(CONFIGMAPS, "settings", "shop")
        said = (await bus.says(Requested, 2))[-1]
        assert isinstance(said, Requested)
        assert (said.request.error, [each.name for each in said.request.workload]) == ("", ["web"])

        await scene.team.delete(DEPLOYMENTS, "web", "shop")
        said = (await bus.says(Requested, 3))[-1]
        assert isinstance(said, Requested)
        assert said.request.error == (
            "spec.workload[0] selects nothing: no Deployment named web in namespace shop; "
            "what runs is left as it is, until the Placement is deleted or selects something"
        )


async def test_of_what_was_never_decided_every_part_has_to_be_there(scene: Scene) -> None:
    await scene.workload()
    async with at_work(scene) as bus:
        await scene.place(workload=BOTH)
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.error == "spec.workload[1] selects nothing: no ConfigMap named settings in namespace shop"


async def test_a_kind_that_is_not_served_any_more_leaves_all_that_runs_as_it_is(scene: Scene) -> None:
    await scene.team.create(CRDS, definition("example.com", "Widget"))
    await scene.team.create(WIDGETS, obj("Widget", WIDGETS.api_version, name="web", spec={}))
    await scene.workload()
    both = [BOTH[0], {"apiVersion": WIDGETS.api_version, "kind": "Widget", "name": "web"}]
    async with at_work(scene) as bus:
        ref = await scene.place(workload=both)
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.error == ""
        await scene.decide(ref, "east")
    await scene.team.delete(CRDS, f"{WIDGETS.plural}.{WIDGETS.group}")
    async with at_work(scene) as bus:
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert "Widget in example.com is not served" in said.request.error
        assert said.request.error.endswith("until the Placement is deleted or selects something")


async def test_where_a_right_to_a_part_is_lost_the_rest_is_decided_on_in_the_same_targets_until_it_is_given_back(
    scene: Scene,
) -> None:
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    token = scene.ready.sandbox.add_user("tess")
    web = {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["get"]}
    api = {**web, "resourceNames": ["api"]}
    await grant(scene.team, "tess", ACCESS, PLACING, web)
    right = await grant(scene.team, "tess", api)
    await grant(scene.platform, "tess", ACCESS, USING)
    for name in ("web", "api"):
        await scene.workload(name=name)
    both = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name} for name in ("web", "api")]
    at_once = {"allowed_ttl_seconds": 0.0, "denied_ttl_seconds": 0.0, "resync_seconds": 0.2}
    async with Client(dataclasses.replace(credentials, token=token)) as client, binders(scene) as make:
        async with at_work(scene, **at_once) as bus:
            await client.cluster(TEAM).create(PLACEMENTS, placement(workload=both))
            ref = PlacementRef(workspace=TEAM, namespace="shop", name="web")
            (first,) = await bus.says(Requested)
            assert isinstance(first, Requested)
            digest = first.request.input_digest
            await scene.insist(
                make(), scene.assigned(ref, await scene.decide(ref, "east", digest=digest), digest=digest)
            )
            await scene.team.delete(CLUSTERROLEBINDINGS, right)
            await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
            # All is left as it is for as long as the controller has not seen that it runs.
            lost = await _said(bus, lambda each: bool(each.request.unread) and not each.request.error)
            assert lost.request.unread == "requester may not get Deployment shop/api"
            assert [(each.name, each.replicas) for each in lost.request.workload] == [("api", 2), ("web", 5)]
            assert (lost.request.spec.targets.names, lost.request.spec.targets.count) == (
                ("east",),
                Count(min=1, max=1),
            )
        async with at_work(scene, **at_once) as bus:  # also by a controller that never saw what it was
            await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 6}}, "shop")
            later = await _said(bus, lambda each: any(one.replicas == 6 for one in each.request.workload))
            assert [(each.name, each.replicas) for each in later.request.workload] == [("api", 2), ("web", 6)]
            await grant(scene.team, "tess", api, api)
            back = await _said(bus, lambda each: not each.request.unread)
            assert [each.name for each in back.request.workload] == ["api", "web"]
            assert back.request.spec.targets.names == ()


async def test_where_the_right_to_all_of_it_is_lost_it_is_left_as_it_is_and_says_so_until_it_is_given_back(
    scene: Scene,
) -> None:
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    token = scene.ready.sandbox.add_user("tess")
    web = {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["get"]}
    await grant(scene.team, "tess", ACCESS, PLACING)
    right = await grant(scene.team, "tess", web)
    await scene.workload()
    at_once = {"allowed_ttl_seconds": 0.0, "denied_ttl_seconds": 0.0, "resync_seconds": 0.2}
    async with Client(dataclasses.replace(credentials, token=token)) as client, at_work(scene, **at_once) as bus:
        await client.cluster(TEAM).create(PLACEMENTS, placement())
        ref = PlacementRef(workspace=TEAM, namespace="shop", name="web")
        await bus.says(Requested)
        await scene.decide(ref, "east")
        await scene.team.delete(CLUSTERROLEBINDINGS, right)
        await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
        lost = await _said(bus, lambda each: bool(each.request.error))
        assert lost.request.unread == "requester may not get Deployment shop/web"
        assert lost.request.error.startswith("requester may not get Deployment shop/web; what runs is left as it is")
        count = len(bus.said)
        await grant(scene.team, "tess", web, web, web)
        await until(
            lambda: [each for each in bus.said[count:] if isinstance(each, Requested) and not each.request.error]
        )


async def _said(bus: Bus, holds: Callable[[Requested], bool]) -> Requested:
    """The first request of which something holds."""

    def found() -> list[Requested]:
        return [each for each in bus.said if isinstance(each, Requested) and holds(each)]

    return (await until(found))[0]

"""A workload that is everything with one label: `workload: [{all: true, labelSelector}]`."""

import dataclasses

from shared.api import decode_placement
from shared.hub.rendering import input_digest, source_hash
from shared.hub.resources import PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, CRDS, DEPLOYMENTS, Resource
from shared.model.request import Request
from shared.pipeline.messages import Requested
from tests.integration.controller.conftest import Bus, at_work
from tests.support.binders import binders
from tests.support.grants import ACCESS, PLACING, USING, grant
from tests.support.manifests import condition, obj, placement
from tests.support.scene import TEAM, Scene

PART = {"app": "web"}
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", kind="PodDisruptionBudget")
ALL = [{"all": True, "labelSelector": {"matchLabels": PART}}]


async def _asked(bus: Bus, count: int) -> Request:
    said = (await bus.says(Requested, count))[-1]
    assert isinstance(said, Requested)
    return said.request


def _names(request: Request) -> set[str]:
    return {f"{each.kind} {each.name}" for each in request.workload}


async def test_what_gets_the_label_later_is_placed_and_what_loses_it_is_not(scene: Scene) -> None:
    await scene.workload()
    await scene.workload(name="other")
    await scene.config()
    async with at_work(scene) as bus:
        await scene.place(workload=ALL)
        request = await _asked(bus, 1)
        assert (request.error, _names(request)) == ("", {"Deployment web"})
        await scene.team.merge_patch(CONFIGMAPS, "settings", {"metadata": {"labels": PART}}, "shop")
        assert _names(await _asked(bus, 2)) == {"Deployment web", "ConfigMap settings"}
        await scene.team.merge_patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"app": None}}}, "shop")
        assert _names(await _asked(bus, 3)) == {"ConfigMap settings"}


async def test_a_common_kind_that_is_not_served_is_nothing_and_what_was_placed_of_one_stays(
    scene: Scene,
) -> None:
    web = await scene.workload()
    budget = obj("PodDisruptionBudget", BUDGETS.api_version, spec={"maxUnavailable": 1})
    budget["metadata"]["labels"] = PART
    budget = await scene.team.create(BUDGETS, budget)
    ref = await scene.place(workload=ALL)
    placed = decode_placement(await scene.team.get(PLACEMENTS, ref.name, "shop"))
    both = input_digest(placed.spec, [source_hash(web), source_hash(budget)])
    async with binders(scene) as make:
        head = await scene.decide(ref, "east", digest=both)
        await scene.insist(make(), scene.assigned(ref, head, digest=both))
        assert await scene.in_target(BUDGETS) is not None
        await scene.team.delete(CRDS, "poddisruptionbudgets.policy")
        web = await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
        alone = input_digest(placed.spec, [source_hash(web)])
        async with at_work(scene) as bus:
            request = await _asked(bus, 1)
            assert "PodDisruptionBudget in policy is not served" in request.unread
            assert (request.error, _names(request), request.input_digest) == ("", {"Deployment web"}, alone)
        head = await scene.decide(ref, "east", digest=alone)
        await scene.insist(make(), scene.assigned(ref, head, digest=alone))
        assert await scene.in_target(BUDGETS) is not None
        binding = await scene.binding(ref)
        assert binding is not None
        said = condition(binding["status"], "Applied")["message"]
        assert said.count("what is there of it stays as it was applied.") == 1


async def test_who_may_not_read_all_kinds_is_told_which(scene: Scene) -> None:
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    token = scene.ready.sandbox.add_user("tess")
    some = {"apiGroups": ["", "apps"], "resources": ["configmaps", "deployments", "services"], "verbs": ["get"]}
    await grant(scene.team, "tess", ACCESS, PLACING, some)
    await grant(scene.platform, "tess", ACCESS, USING)
    await scene.workload()
    async with Client(dataclasses.replace(credentials, token=token)) as client, at_work(scene) as bus:
        await client.cluster(TEAM).create(PLACEMENTS, placement(workload=ALL))
        request = await _asked(bus, 1)
        assert request.error.startswith("requester may not get all ")
        assert not request.workload

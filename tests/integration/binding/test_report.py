"""What is in a target otherwise than wanted: told, and not changed."""

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.names import APPLIER
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES
from tests.integration.binding.places import in_any_target
from tests.support.client import if_there
from tests.support.manifests import condition, deployment
from tests.support.scene import TEAM, Scene

REPORT = {"conflictPolicy": "Report"}
BOTH = [
    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings"},
]


@in_any_target
async def test_what_differs_is_told_by_object_and_field_and_nothing_is_changed(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    await scene.config()
    await scene.claim(TEAM)
    theirs = await scene.targets["east"].create(DEPLOYMENTS, deployment(replicas=7), field_manager="owner")
    ref = await scene.place(workload=BOTH, **REPORT)
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry):
        await binder.bind(message)
    binding, there = await scene.binding(ref), await scene.in_target()
    assert binding is not None
    assert there is not None
    assert (there["spec"], there["metadata"].get("labels")) == (theirs["spec"], theirs["metadata"].get("labels"))
    assert APPLIER not in {each["manager"] for each in there["metadata"]["managedFields"]}
    assert await scene.in_target(CONFIGMAPS, "settings") is None
    assert await if_there(scene.targets["east"].get(NAMESPACES, "moorage-system")) is None
    told = {each["ref"]["name"]: each for each in binding["status"]["differences"]}
    assert told["web"]["fields"] == [".spec.replicas"]
    assert told["settings"]["missing"]
    said = condition(binding["status"], "Applied")
    assert (said["status"], said["reason"]) == ("False", "Reported")
    assert (
        "2 of 2 objects differ: ConfigMap shop/settings is not there; Deployment shop/web (.spec.replicas)"
        in said["message"]
    )


async def test_what_was_reported_is_applied_once_that_is_wanted_and_told_no_more(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place(**REPORT)
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == set()
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": {"conflictPolicy": "Fail"}}, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    binding = await scene.binding(ref)
    assert binding is not None
    assert "differences" not in binding["status"]
    assert await scene.managed() == {"Deployment web"}


async def test_what_was_applied_before_stays_while_it_is_only_reported_and_goes_with_the_placement(
    scene: Scene, binder: Binder
) -> None:
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.team.merge_patch(PLACEMENTS, "web", {"spec": REPORT}, "shop")
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert found["spec"]["replicas"] == 2
    assert binding is not None
    assert [each["ref"]["name"] for each in binding["status"]["objects"]] == ["web"]
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    assert await scene.managed() == set()


async def test_what_may_be_taken_over_only_if_equal_is_told_by_field(scene: Scene, binder: Binder) -> None:
    await scene.agree(adoption="IfEqual")
    await scene.workload()
    await scene.claim(TEAM)
    await scene.targets["east"].create(DEPLOYMENTS, deployment(replicas=7), field_manager="owner")
    ref = await scene.place()
    with pytest.raises(Retry, match=r"it differs in \.spec\.replicas, and the target's owner lets only equal"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))

"""A kind that a placement selects and its workspace serves later."""

from shared.kube.resources import CRDS, Resource
from shared.pipeline.messages import Requested
from tests.integration.controller.conftest import at_work
from tests.support.manifests import definition, obj
from tests.support.scene import TEAM, Scene

WIDGETS = Resource("example.com", "v1alpha1", "widgets", kind="Widget")
WORKLOAD = [{"apiVersion": WIDGETS.api_version, "kind": "Widget", "name": "web"}]


async def test_a_kind_that_the_workspace_serves_later_is_seen_within_seconds(scene: Scene) -> None:
    async with at_work(scene) as bus:
        await scene.place(workload=WORKLOAD)
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert "has no such kind: Widget in example.com is not served" in said.request.error

        await scene.team.create(CRDS, definition("example.com", "Widget"))
        await scene.team.create(WIDGETS, obj("Widget", WIDGETS.api_version, name="web", spec={}))
        said = (await bus.says(Requested, 2))[-1]
        assert isinstance(said, Requested)
        assert (said.request.error, [each.name for each in said.request.workload]) == ("", ["web"])


async def test_while_no_kind_is_lacking_nothing_is_followed_for_it(scene: Scene) -> None:
    await scene.team.create(CRDS, definition("example.com", "Widget"))
    await scene.team.create(WIDGETS, obj("Widget", WIDGETS.api_version, name="web", spec={}))
    asked = scene.count_requests(TEAM)
    async with at_work(scene) as bus:
        await scene.place(workload=WORKLOAD)
        await bus.says(Requested)
    assert asked
    assert not [each for each in asked if "customresourcedefinitions" in each or "apibindings" in each]

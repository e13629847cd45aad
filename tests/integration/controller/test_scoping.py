"""Labels by which policies choose placements, as the controller reads them and tells the other workers."""

import json

from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response
from shared.broker.table import Table
from shared.hub.resources import POLICIES
from shared.kube.resources import NAMESPACES
from shared.model.request import Request, ScopeLabels
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES
from shared.pipeline.messages import Reported, Requested
from tests.integration.controller.conftest import Bus, at_work
from tests.support.manifests import policy
from tests.support.scene import TEAM, Scene

GOLD = {"matchLabels": {"tier": "gold"}}
RULE = {"name": "r", "expression": "true"}


async def requested(bus: Bus, count: int = 1) -> Request:
    said = (await bus.says(Requested, count))[-1]
    assert isinstance(said, Requested)
    return said.request


class Refusing:
    """Namespaces that are not told of: with this status, or not at all."""

    def __init__(self, scene: Scene, status: int) -> None:
        self.status, self._handle = status, scene.ready.sandbox.handle
        scene.ready.sandbox.handle = self._answer  # type: ignore[method-assign]  # it is looked up for every request

    async def _answer(self, request: HttpRequest) -> Response:
        if self.status == 200 or not request.path.endswith("/namespaces"):
            return await self._handle(request)
        body = {"kind": "Status", "reason": "Forbidden" if self.status == 403 else "InternalError", "code": self.status}
        return Response(self.status, json.dumps(body).encode())


async def test_no_namespace_is_read_and_no_label_told_as_long_as_no_policy_goes_by_any(scene: Scene) -> None:
    Refusing(scene, 500)
    await scene.team.create(POLICIES, policy("all", RULE))
    async with at_work(scene) as bus:
        await scene.workload()
        await scene.place()
        assert (await requested(bus)).scope_labels == ScopeLabels()


async def test_a_namespace_that_is_relabelled_has_its_placements_decided_anew(scene: Scene) -> None:
    await scene.team.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "gold"}}})
    await scene.team.create(POLICIES, policy("gold", RULE, match={"namespaceSelector": GOLD}))
    async with at_work(scene) as bus:
        await scene.workload()
        await scene.place()
        first = await requested(bus)
        assert first.scope_labels.namespace is not None
        assert first.scope_labels.namespace["tier"] == "gold"
        await scene.team.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "none"}}})
        second = await requested(bus, 2)
        assert second.scope_labels.namespace is not None
        assert (second.cause.code, second.scope_labels.namespace["tier"]) == ("PolicyChanged", "none")


async def test_labels_that_may_not_be_read_are_told_as_unknown_so_that_the_policy_holds(scene: Scene) -> None:
    Refusing(scene, 403)
    await scene.team.create(POLICIES, policy("gold", RULE, match={"namespaceSelector": GOLD}))
    async with at_work(scene) as bus:
        await scene.workload()
        await scene.place()
        assert (await requested(bus)).scope_labels.namespace is None


async def test_where_namespaces_cannot_be_read_yet_nothing_is_decided_until_they_are(scene: Scene) -> None:
    refusing = Refusing(scene, 500)
    await scene.team.create(POLICIES, policy("gold", RULE, match={"namespaceSelector": GOLD}))
    async with at_work(scene) as bus:
        await scene.workload()
        await scene.place()
        await until_asked(scene, bus)
        refusing.status = 200
        assert (await requested(bus)).scope_labels.namespace is not None


async def until_asked(scene: Scene, bus: Bus) -> None:
    """Some time passes in which a round would have begun."""
    await scene.place("other", workspace=TEAM, suspend=True)
    await bus.says(Reported)
    assert not bus.of(Requested)


async def test_a_workspace_that_is_relabelled_has_its_placements_decided_anew(scene: Scene) -> None:
    await scene.team.create(POLICIES, policy("gold", RULE, match={"workspaceSelector": GOLD}))
    async with at_work(scene) as bus:
        await scene.workload()
        await scene.place()
        assert (await requested(bus)).scope_labels.workspaces == {TEAM: {}}
        await Table(scene.store, WORKSPACES).put("root=3Ateam", Workspace(path=TEAM, labels={"tier": "gold"}))
        second = await requested(bus, 2)
        assert second.scope_labels.workspaces == {TEAM: {"tier": "gold"}}
        assert second.cause.code == "PolicyChanged"

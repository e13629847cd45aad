"""PlacementOverrides over HTTP (the sandbox): who may override what, what is asked for it, and what they say."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.sandbox.wire.faults import Fault
from services.sandbox.wire.http import Request as HttpRequest
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import OVERRIDES
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CLUSTERROLEBINDINGS, CRDS
from shared.kube.times import rfc3339
from shared.model.request import Request
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES
from shared.pipeline.messages import Requested
from tests.integration.controller.conftest import Bus, at_work
from tests.support.grants import ACCESS, PLACING, grant
from tests.support.manifests import condition
from tests.support.scene import RIVAL, TEAM, Scene, definitions
from tests.support.waiting import until

ROOT = "root"
GROUP = "placement.moorage.io"
OVERRIDING = {"apiGroups": [GROUP], "resources": ["placements"], "verbs": ["override"]}
ON_TARGETS = {"apiGroups": [GROUP], "resources": ["synctargets"], "verbs": ["override"]}
WRITING = {"apiGroups": [GROUP], "resources": ["placementoverrides"], "verbs": ["*"]}
REVIEWS = "subjectaccessreviews"

pytestmark = pytest.mark.usefixtures("scene")


@asynccontextmanager
async def working(scene: Scene, *more: str) -> AsyncIterator[Bus]:
    """The controller at work in the team's workspace, in the root, and in `more`. Denials are not remembered."""
    for path in (ROOT, *more):
        await Table(scene.store, WORKSPACES).put(join(path), Workspace(path=path))
    async with at_work(scene, denied_ttl_seconds=0.0, allowed_ttl_seconds=0.0) as bus:
        yield bus


def override(name: str = "hand", kind: str = "Force", *targets: str, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": OVERRIDES.api_version, "kind": OVERRIDES.kind, "metadata": {"name": name}}
    named = [{"name": each} for each in targets or ("east",)]
    about = {} if "placementSelector" in spec else {"placementRef": {"name": "web", "namespace": "shop"}}
    return {**body, "spec": {"type": kind, **about, "targets": named, "reason": "it burns", **spec}}


async def somebody(scene: Scene, name: str, workspace: str, *rules: dict[str, Any]) -> Client:
    """A user with these rights in a workspace; a client of theirs there, to be closed by the test."""
    await grant(scene.hub.cluster(workspace), name, ACCESS, WRITING, *rules)
    return Client(scene.login(name)).cluster(workspace)


async def says(scene: Scene, reason: str, name: str = "hand", workspace: str = TEAM) -> dict[str, Any]:
    """The condition of an override, once it has that reason."""

    async def look() -> dict[str, Any]:
        found = await scene.hub.cluster(workspace).get(OVERRIDES, name)
        return condition(found["status"], "Accepted") if found.get("status") else {}

    said: dict[str, Any] = await until(look, f"{name}: {reason}", holds=lambda each: each.get("reason") == reason)
    return said


async def asked(bus: Bus, holds: Any = bool) -> Request:
    """The newest request, once it is such a one."""
    found = await until(lambda: bus.of(Requested)[-1:], "a request", holds=lambda each: each and holds(each[0].request))
    request: Request = found[0].request
    return request


async def test_without_overrides_nobody_is_asked_who_may_and_nothing_is_sent(scene: Scene) -> None:
    reviewed: list[bytes] = []

    async def look(request: HttpRequest) -> None:
        if request.path.endswith(REVIEWS):
            reviewed.append(request.body)

    scene.tap(before=look)
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        request = await asked(bus)
        assert not request.operator_overrides
        assert reviewed, "whether the requester may read the workload is asked"
        assert not any(b'"override"' in body for body in reviewed)
        await scene.team.create(OVERRIDES, override())
        await asked(bus, lambda each: each.operator_overrides)
        assert any(b'"override"' in body for body in reviewed)


async def test_an_override_comes_with_the_round_that_it_causes_and_goes_with_another(scene: Scene) -> None:
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        await asked(bus)
        await scene.team.create(OVERRIDES, override())
        request = await asked(bus, lambda each: each.operator_overrides)
        (one,) = request.operator_overrides
        assert (one.workspace, one.name, one.type, one.reason) == (TEAM, "hand", "Force", "it burns")
        assert request.cause.code == "OverrideChanged"
        await says(scene, "InForce")
        await scene.team.delete(OVERRIDES, "hand")
        assert (await asked(bus, lambda each: not each.operator_overrides)).cause.code == "OverrideChanged"


async def test_it_ends_by_itself(scene: Scene) -> None:
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        await scene.team.create(OVERRIDES, override(expiresAt=rfc3339(time.time() + 2.0)))
        await asked(bus, lambda each: each.operator_overrides)
        await asked(bus, lambda each: not each.operator_overrides)
        await says(scene, "Expired")


async def test_who_may_not_override_is_told_and_nothing_is_overridden(scene: Scene) -> None:
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        await asked(bus)
        async with await somebody(scene, "mallory", TEAM, PLACING_BUT_NOT_OVERRIDING) as mallory:
            await mallory.create(OVERRIDES, override())
            assert (await says(scene, "NotAuthorized"))["message"].startswith("mallory may not override")
            forged = override("forged")
            forged["metadata"]["annotations"] = {"placement.moorage.io/requester": '{"username":"root"}'}
            await mallory.create(OVERRIDES, forged)
            assert (await says(scene, "NotAuthorized", "forged"))["message"].startswith("mallory may not")
            patch = {"metadata": {"annotations": {"placement.moorage.io/requester": '{"username":"root"}'}}}
            found = await mallory.merge_patch(OVERRIDES, "hand", patch)
            assert '"mallory"' in found["metadata"]["annotations"]["placement.moorage.io/requester"]
        assert len(bus.of(Requested)) == 1


async def test_an_override_of_another_workspace_holds_there_alone(scene: Scene) -> None:
    for each in definitions():
        await scene.hub.cluster(ROOT).create(CRDS, each)
    async with working(scene, RIVAL) as bus:
        await scene.workload()
        await scene.place()
        await asked(bus)
        async with await somebody(scene, "rita", RIVAL, OVERRIDING) as rita:
            await rita.create(OVERRIDES, override(placementSelector={}))
            await says(scene, "InForce", workspace=RIVAL)
        await scene.hub.cluster(ROOT).create(OVERRIDES, override("above", "Avoid"))
        request = await asked(bus, lambda each: each.operator_overrides)
        assert [each.name for each in request.operator_overrides] == ["above"], "and one from above holds below"


async def test_a_right_that_is_taken_away_ends_it_and_one_that_is_lacking_for_a_part_is_named(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.controller.overrides.AGAIN", 0.2)
    one = {**ON_TARGETS, "resourceNames": ["east"]}
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        async with await somebody(scene, "olga", TEAM, one) as olga:
            await olga.create(OVERRIDES, override("out", "Exclude", "east", "west"))
            assert "It holds for east alone" in (await says(scene, "InForceInPart", "out"))["message"]
            request = await asked(bus, lambda each: each.operator_overrides)
            (only,) = request.operator_overrides[0].targets
            assert (only.name, only.workspace) == ("east", TEAM)
            await olga.create(OVERRIDES, override("in", "Prefer", "east"))
            assert "can Exclude and Avoid" in (await says(scene, "NotAuthorized", "in"))["message"]
        bindings = (await scene.team.list(CLUSTERROLEBINDINGS)).items
        (binding,) = [each["metadata"]["name"] for each in bindings if each["metadata"]["name"].startswith("olga")]
        await scene.team.delete(CLUSTERROLEBINDINGS, binding)
        await asked(bus, lambda each: not each.operator_overrides)
        await says(scene, "NotAuthorized", "out")


async def test_while_nobody_can_say_who_may_it_stays_as_it_is(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.controller.overrides.SOON", 0.1)
    async with working(scene) as bus:
        await scene.workload()
        await scene.place()
        await asked(bus)
        fault = Fault(kind="500", cluster=TEAM, resource=f"{REVIEWS}.*", verb="create")
        scene.ready.sandbox.faults.add(fault)
        await scene.team.create(OVERRIDES, override())
        await says(scene, "AuthorizationUnknown")
        assert len(bus.of(Requested)) == 1
        scene.ready.sandbox.faults.clear()
        await asked(bus, lambda each: each.operator_overrides)
        await says(scene, "InForce")


async def test_contradictions_are_refused_with_the_name_of_the_other_one(scene: Scene) -> None:
    await scene.team.create(OVERRIDES, override("first"))
    with pytest.raises(ApiError) as refused:
        await scene.team.create(OVERRIDES, override("second", "Exclude"))
    assert "contradicts the PlacementOverride first (Force)" in str(refused.value)
    await scene.team.create(OVERRIDES, override("second", "Exclude", priority=1))
    await scene.hub.cluster(RIVAL).create(OVERRIDES, override("second", "Exclude"))
    for mistake in (
        {"reason": " "},
        {"overCommit": True},
        {"placementRef": {"name": "web"}, "placementSelector": {}},
        {"targets": []},
    ):
        with pytest.raises(ApiError) as refused:
            await scene.team.create(OVERRIDES, override("third", "Avoid", **mistake))
        assert refused.value.status == 422


async def test_the_status_is_written_once_and_two_copies_say_the_same(scene: Scene) -> None:
    requests = scene.count_requests(TEAM)
    async with working(scene), at_work(scene):
        await scene.team.create(OVERRIDES, override())
        await says(scene, "InForce")
        await scene.team.create(OVERRIDES, override("next", "Avoid"))
        await says(scene, "InForce", "next")
        await asyncio.sleep(0)
    writes = [each for each in requests if each.startswith("PUT") and "hand/status" in each]
    assert 1 <= len(writes) <= 2, "both may have seen it at once"


PLACING_BUT_NOT_OVERRIDING = {
    **PLACING,
    "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
}

"""Rule 11: names of targets that the requester may not see are not shown to it; counts are."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.decision.core import record
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES
from shared.model.decision import Proposal, Refusal, Rejection
from shared.model.reasons import NAMED_BY_DISCOVERY, RejectionCode, Stage, may_name, sentence
from shared.pipeline.messages import Discovered, Scheduled, encode
from tests.support.discovery import Scene, opened

PLATFORM = "root:platform"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        await scene.define(PLATFORM)
        for name in ("east", "west"):
            await scene.offer(PLATFORM, name)
        yield scene


async def allow(scene: Scene, user: str, *names: str) -> None:
    """Let somebody use targets of these names."""
    api = "rbac.authorization.k8s.io"
    meta = {"apiVersion": f"{api}/v1", "metadata": {"name": f"use-{user}"}}
    rule = {"apiGroups": [SYNCTARGETS.group], "resources": ["synctargets"], "verbs": ["use"], "resourceNames": names}
    client = scene.hub.cluster(PLATFORM)
    await client.create(CLUSTERROLES, {**meta, "kind": "ClusterRole", "rules": [rule]})
    subject = {"kind": "User", "name": user, "apiGroup": api}
    role = {"kind": "ClusterRole", "name": f"use-{user}", "apiGroup": api}
    await client.create(
        CLUSTERROLEBINDINGS, {**meta, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]}
    )


def written(found: Discovered) -> dict[str, Any]:
    """The PlacementDecision's status, were nothing to come after discovery."""
    why = sentence(sum(each.count for each in found.rejections), found.rejections)
    scheduled = Scheduled(
        request=found.request,
        proposal=Proposal(strategy="Spread", refusal=Refusal(code="NoFeasibleTarget", message=why)),
        rejections=found.rejections,
        inventory_revision=1,
    )
    status: dict[str, Any] = msgspec.to_builtins(record(scheduled, [], scheduled.proposal.refusal, None, 1.0))
    return status


async def test_a_tenant_without_rights_sees_how_many_targets_there_are_and_not_which(scene):
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place()
    assert found.targets == ()
    assert "east" not in str(encode(found))
    assert PLATFORM not in str(encode(found))
    status = written(found)
    assert status["rejected"]["NotAuthorized"]["count"] == 2
    assert status["rationale"] == "0/2 targets: 2 not authorized"
    assert PLATFORM not in str(status)


async def test_a_tenant_with_rights_on_one_target_sees_that_one_alone(scene):
    await allow(scene, "tess", "west")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place(kinds=("batch/v1 CronJob",))
    status = written(found)
    assert status["rejected"]["MissingAPI"]["samples"] == (f"{PLATFORM}/west",)
    assert status["rejected"]["NotAuthorized"]["count"] == 1
    assert "east" not in str(status)


async def test_a_tenant_to_whom_nobody_could_say_yes_sees_no_names(scene):
    scene.faults["/subjectaccessreviews"] = 500
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place()
    assert {each.reason: each.count for each in found.rejections} == {"AuthorizationUnknown": 2}
    assert PLATFORM not in str(written(found))


async def test_a_tenant_whose_workspace_is_not_admitted_or_that_selects_others_sees_no_names(scene):
    await allow(scene, "tess", "east", "west")
    spec = {"spec": {"allowedWorkspaces": {"paths": ["root:empty"]}}}
    await scene.hub.cluster(PLATFORM).merge_patch(SYNCTARGETS, "east", spec)
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place()
        assert {each.reason: each.targets for each in found.rejections} == {"WorkspaceNotAllowed": ()}
        assert "east" not in str(written(found))


@pytest.mark.parametrize("stage", ["", *Stage])
@pytest.mark.parametrize("reason", [code for code in RejectionCode if Stage.DISCOVERY in code.stages])
def test_decision_writes_no_names_that_come_from_before_authorization_whoever_sends_them(reason, stage):
    """A stage of another release, or one that is compromised."""
    sent = Rejection(reason=reason, message="x", targets=(f"{PLATFORM}/east",), stage=stage)
    assert may_name(sent) == (reason in NAMED_BY_DISCOVERY)


def test_a_reason_of_discovery_that_nobody_knows_names_nothing():
    assert not may_name(Rejection(reason="SomethingNew", message="x", targets=("a/b",), stage="discovery"))

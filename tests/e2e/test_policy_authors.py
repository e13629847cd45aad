"""Who wrote a policy or an exception, on the whole pipeline: in whose name it reads, and what is said of it."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import EXCEPTIONS, POLICIES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS
from shared.kube.times import rfc3339
from tests.support import worlds
from tests.support.grants import ACCESS, PLACING, grant
from tests.support.manifests import condition, exception, obj, policy
from tests.support.together import Together, together
from tests.support.waiting import until

OPEN = {"name": "open", "expression": "true"}
LIMITS = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": worlds.NAMESPACE, "name": "limits"}
TELLS = {
    "name": "tells",
    "expression": "params.data.key == 'x'",
    "messageExpression": "'it is ' + params.data.key",
}
FORGED = '{"username":"alice"}'


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    world = worlds.world(1, delay=0.01)
    world["users"].append({"name": "bob", "groups": [], "workspaces": {worlds.TEAM: "none", worlds.PLATFORM: "none"}})
    async with together(tmp_path, world, in_place_seconds=600.0) as found:
        yield found


@pytest.fixture
async def bob(system: Together, tmp_path: Path) -> AsyncIterator[Client]:
    """Somebody who may write policies where alice's ConfigMap is, and may not read that."""
    await grant(system.admin.cluster(worlds.TEAM), "bob", ACCESS, PLACING)
    data = {"key": "hidden"}
    await system.user.create(CONFIGMAPS, obj("ConfigMap", name="limits", namespace=worlds.NAMESPACE, data=data))
    async with Client(load_kubeconfig(tmp_path / "user-bob.kubeconfig")) as client:
        yield client.cluster(worlds.TEAM)


async def test_a_policy_sees_only_what_its_author_may_get(system: Together, bob: Client) -> None:
    """Whoever may write policies does not have the controller read for them, whomever they name as author."""
    mine = policy("p", TELLS, paramRef={**LIMITS, "parameterNotFoundAction": "Allow"})
    mine["metadata"]["annotations"] = {REQUESTER_ANNOTATION: FORGED}
    await bob.create(POLICIES, mine)
    await bob.merge_patch(POLICIES, "p", {"metadata": {"annotations": {REQUESTER_ANNOTATION: FORGED}}})
    await system.place("web", worlds.deployment("web"))
    status = await system.reaches("web", "Unschedulable")
    message = condition(status, "Scheduled")["message"]
    assert "bob, who wrote the policy, may not get ConfigMap apps/limits" in message
    assert "hidden" not in message

    await system.user.merge_patch(POLICIES, "p", {"spec": {"priority": 1}})  # alice is its author now, and may

    async def told() -> bool:
        return "it is hidden" in condition(await system.status("web"), "Scheduled").get("message", "")

    await until(told, "its parameters are read")


async def test_an_exception_says_whether_it_is_in_force_who_granted_it_and_that_it_ended(system: Together) -> None:
    async def says(name: str, reason: str) -> str:
        async def found() -> dict[str, Any]:
            return condition((await system.user.get(EXCEPTIONS, name)).get("status") or {}, "InForce")

        return str((await until(found, reason, holds=lambda each: each.get("reason") == reason))["message"])

    everywhere = {"workspaces": [worlds.TEAM]}
    await system.user.create(EXCEPTIONS, exception("early", "p", match=everywhere))
    assert "no PlacementPolicy p" in await says("early", "NoPolicy")
    await system.user.create(POLICIES, policy("p", OPEN))
    assert (await says("early", "InForce")).endswith("Granted by alice.")
    await system.user.create(EXCEPTIONS, exception("wrong", "p", rules=["shut"], match=everywhere))
    assert "p has no rule shut" in await says("wrong", "NoSuchRule")
    await system.user.merge_patch(EXCEPTIONS, "early", {"spec": {"expiresAt": rfc3339(time.time() + 1.0)}})
    assert "It ended at" in await says("early", "Expired")
    with pytest.raises(ApiError) as raised:  # nobody but the controller says so
        await system.user.merge_patch(EXCEPTIONS, "early", {"status": {"conditions": []}}, subresource="status")
    assert raised.value.forbidden

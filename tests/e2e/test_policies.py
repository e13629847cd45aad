"""PlacementPolicies on the whole pipeline, in one process: what their authors and those who place see of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import PLACEMENTS, POLICIES
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, EVENTS, SECRETS
from tests.support import worlds
from tests.support.manifests import condition, obj
from tests.support.together import Together, together, until


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(2, delay=0.01), in_place_seconds=600.0) as found:
        yield found


def policy(name: str, expression: str, **spec: Any) -> dict[str, Any]:
    rule = {"name": "r", "effect": "Forbid", "expression": expression, "message": "not there"}
    meta = {"apiVersion": "placement.moorage.io/v1alpha1", "kind": "PlacementPolicy", "metadata": {"name": name}}
    return {**meta, "spec": {"rules": [rule], **spec}}


async def told(system: Together, reason: str) -> list[tuple[str, str]]:
    """Type and message of Events in alice's namespace."""
    page = await system.user.list(EVENTS, worlds.NAMESPACE)
    return [(each["type"], each["message"]) for each in page.items if each["reason"] == reason]


async def test_a_tenant_does_not_get_out_of_a_policy_by_changing_labels(system: Together) -> None:
    match = {"workspaces": [worlds.TEAM], "namespaces": [worlds.NAMESPACE]}
    await system.user.create(POLICIES, policy("p", 'target.name == "cluster-000"', match=match))
    await system.user.create(POLICIES, policy("q", "true", match={"excludedWorkspaces": [worlds.TEAM]}))
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")
    assert await system.chosen("web") == ["cluster-001"]
    await system.user.merge_patch(PLACEMENTS, "web", {"metadata": {"labels": {"tier": "free"}}}, worlds.NAMESPACE)
    await system.edit(PLACEMENTS, "web", {"targets": {"names": ["cluster-000"]}})
    status = await system.reaches("web", "Unschedulable")
    assert "not there" in condition(status, "Scheduled")["message"]


async def test_a_version_of_a_policy_that_does_not_compile_leaves_what_runs_and_the_version_before(
    system: Together,
) -> None:
    await system.user.create(POLICIES, policy("p", 'target.name == "cluster-000"'))
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")
    rules = [{"name": "r", "effect": "Forbid", "expression": "targt.ready"}]
    await system.user.merge_patch(POLICIES, "p", {"spec": {"rules": rules}})

    async def compiled() -> dict[str, Any]:
        found = await system.user.get(POLICIES, "p")
        return condition(found.get("status") or {"conditions": []}, "Compiled")

    said = await until(compiled, "the policy says so", holds=lambda found: found["status"] == "False")
    assert said["message"].endswith(" Until that is mended, generation 1 holds.")
    await system.place("late", worlds.deployment("late"))
    await system.reaches("late", "Ready")
    assert (await system.chosen("web"), await system.chosen("late")) == (["cluster-001"], ["cluster-001"])
    assert (await system.status("web"))["phase"] == "Ready"


async def test_what_a_policy_warns_of_is_placed_and_told_until_it_warns_no_more(system: Together) -> None:
    await system.user.create(POLICIES, policy("p", 'target.name.startsWith("cluster-")', enforcement="Warn"))
    await system.place("web", worlds.deployment("web"))
    status = await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    warning = f"Policies warn of {target} (not there)."
    assert condition(status, "PolicyWarning")["message"] == warning
    assert await told(system, "PolicyWarning") == [("Warning", warning)]

    await system.user.merge_patch(POLICIES, "p", {"spec": {"enforcement": "DryRun"}})

    async def calm() -> bool:
        return bool(condition(await system.status("web"), "PolicyWarning")["status"] == "False")

    await until(calm, "nobody warns")
    assert await system.chosen("web") == [target]


async def test_a_policy_takes_parameters_from_an_object_whose_changes_take_effect(system: Together) -> None:
    """Deny: until the object is there, nothing is let in."""
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": worlds.NAMESPACE, "name": "limits"}
    spec = {"paramRef": {**ref, "parameterNotFoundAction": "Deny"}}
    await system.user.create(POLICIES, policy("p", "target.name != params.data.only", **spec))
    await system.place("web", worlds.deployment("web"))
    status = await system.reaches("web", "Unschedulable")
    assert "ConfigMap apps/limits, its parameters, is not there" in condition(status, "Scheduled")["message"]

    limits = obj("ConfigMap", "v1", name="limits", namespace=worlds.NAMESPACE, data={"only": "cluster-001"})
    await system.user.create(CONFIGMAPS, limits)
    await system.reaches("web", "Ready")
    assert await system.chosen("web") == ["cluster-001"]

    await system.user.merge_patch(CONFIGMAPS, "limits", {"data": {"only": "cluster-000"}}, worlds.NAMESPACE)

    async def moved() -> bool:
        return await system.chosen("web") == ["cluster-000"]

    await until(moved, "it follows the parameters")


async def test_no_policy_sees_a_secret(system: Together) -> None:
    ref = {"kind": "Secret", "namespace": worlds.NAMESPACE, "name": "s", "parameterNotFoundAction": "Allow"}
    with pytest.raises(ApiError, match="rules do not see Secrets"):
        await system.user.create(POLICIES, policy("p", "true", paramRef={"apiVersion": "v1", **ref}))
    secret = obj("Secret", "v1", name="s", namespace=worlds.NAMESPACE, stringData={"key": "hidden"})
    await system.user.create(SECRETS, secret)
    await system.user.create(POLICIES, policy("p", "params.data.key != ''", paramRef={"apiVersion": "v2", **ref}))
    await system.place("web", worlds.deployment("web"))
    status = await system.reaches("web", "Unschedulable")
    assert "Secrets are not read" in condition(status, "Scheduled")["message"]

"""The status of PlacementPolicies over real HTTP: what was found out about them shows, and only then."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import POLICIES
from shared.kube.resources import EVENTS
from shared.model.policy import PolicyCheck, PolicyFinding, RuleTally
from shared.pipeline.buckets import CHECKS
from tests.integration.status.conftest import Pipeline
from tests.support.manifests import condition
from tests.support.scene import BOUND, PLATFORM, Scene
from tests.support.waiting import until

TYPO = PolicyFinding(
    rule="rules[eu].expression", line=1, column=8, message="no field `redy`", suggestion="did you mean `ready`?"
)
SAID = "rules[eu].expression, line 1, column 8: no field `redy` (did you mean `ready`?)."


async def policy(scene: Scene, name: str = "p") -> PolicyCheck:
    """A policy on the hub, and what is found out about it when nothing is wrong."""
    body = {
        "apiVersion": POLICIES.api_version,
        "kind": "PlacementPolicy",
        "metadata": {"name": name},
        "spec": {"rules": [{"name": "eu", "expression": "target.ready"}]},
    }
    made = (await scene.platform.create(POLICIES, body))["metadata"]
    return PolicyCheck(
        workspace=PLATFORM, name=name, uid=made["uid"], generation=made["generation"], counts=(RuleTally(rule="eu"),)
    )


async def record(scene: Scene, check: PolicyCheck, **changes: Any) -> PolicyCheck:
    changed = msgspec.structs.replace(check, **changes)
    await Table(scene.store, CHECKS).put(join(check.workspace, check.name), changed)
    return changed


async def until_status(scene: Scene, holds: Callable[[dict[str, Any]], Any], name: str = "p") -> dict[str, Any]:
    """The policy as soon as a condition holds of its status."""
    found: dict[str, Any] = await until(
        lambda: scene.platform.get(POLICIES, name), holds=lambda policy: holds(policy.get("status") or {}), within=BOUND
    )
    return found


async def warnings(scene: Scene) -> list[tuple[str, str, str]]:
    found = (await scene.platform.list(EVENTS, "default")).items
    return [(each["type"], each["involvedObject"]["name"], each["message"]) for each in found]


async def test_a_policy_that_compiles_says_so(idle: Pipeline) -> None:
    await record(idle.scene, await policy(idle.scene))
    await idle.start("status")
    found = await until_status(idle.scene, lambda status: status.get("conditions"))
    compiled = condition(found["status"], "Compiled")
    assert (compiled["status"], compiled["reason"], compiled["message"]) == ("True", "Compiled", "The rule compiles.")
    assert found["status"]["observedGeneration"] == 1
    assert found["status"]["rules"] == [{"name": "eu"}]
    assert await warnings(idle.scene) == []


async def test_a_bad_policy_says_where_and_warns_once_however_many_workers_there_are(idle: Pipeline) -> None:
    scene = idle.scene
    check = await policy(scene)
    await idle.start("status")
    await record(scene, check, findings=(TYPO,))
    found = await until_status(scene, lambda status: status.get("conditions"))
    assert condition(found["status"], "Compiled")["message"] == SAID
    await idle.stop("status")
    await idle.start("status")
    await record(scene, check)
    found = await until_status(scene, lambda status: status["conditions"][0]["status"] == "True")
    assert await warnings(scene) == [("Warning", "p", SAID)]


async def test_counts_are_written_at_the_agreed_pace_and_findings_at_once(idle: Pipeline) -> None:
    scene = idle.scene
    check = await record(scene, await policy(scene))
    await idle.start("status", count_seconds=0.5)
    await until_status(scene, lambda status: status.get("conditions"))
    writes, began = scene.count_requests(PLATFORM), asyncio.get_running_loop().time()
    for number in range(1, 21):
        counts = (RuleTally(rule="eu", evaluated=number, matched=number),)
        check = await record(scene, check, counts=counts)
        await asyncio.sleep(0)
    await until_status(scene, lambda status: status["rules"][0].get("matched") == 20)
    took = asyncio.get_running_loop().time() - began
    assert sum(each.startswith("PUT") for each in writes) <= took / 0.5 + 1
    await record(scene, check, findings=(TYPO,))
    await until_status(scene, lambda status: status["conditions"][0]["status"] == "False")
    assert asyncio.get_running_loop().time() - began - took < 0.5


async def test_the_same_found_again_writes_nothing(idle: Pipeline) -> None:
    scene = idle.scene
    first, second = await policy(scene), await policy(scene, "q")
    await record(scene, first)
    await idle.start("status", count_seconds=0.0)
    await until_status(scene, lambda status: status.get("conditions"))
    writes = scene.count_requests(PLATFORM)
    await record(scene, first)
    await record(scene, second)
    await until_status(scene, lambda status: status.get("conditions"), "q")
    assert [each.rpartition("placementpolicies/")[2] for each in writes if each.startswith("PUT")] == ["q/status"]


async def test_a_policy_that_changed_went_or_was_made_anew_is_left_alone(idle: Pipeline) -> None:
    scene = idle.scene
    gone, anew, changed, last = [await policy(scene, name) for name in ("gone", "anew", "changed", "last")]
    for name in ("gone", "anew"):
        await scene.platform.delete(POLICIES, name)
    await policy(scene, "anew")
    rules = [{"name": "eu", "expression": "!target.ready"}]
    await scene.platform.merge_patch(POLICIES, "changed", {"spec": {"rules": rules}})
    for check in (gone, anew, changed):
        await record(scene, check, findings=(TYPO,))
    await idle.start("status")
    await record(scene, last)
    await until_status(scene, lambda status: status.get("conditions"), "last")
    for name in ("anew", "changed"):
        assert "conditions" not in (await scene.platform.get(POLICIES, name)).get("status", {})
    assert await warnings(scene) == []

"""PlacementOverrides on the whole pipeline, in one process: what operators force, exclude, prefer; until it ends."""

import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import OVERRIDES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import EVENTS
from shared.kube.times import rfc3339
from tests.support import worlds
from tests.support.grants import ACCESS, grant
from tests.support.manifests import condition
from tests.support.together import Together, together, until

ROOT = "root"
WRITING = {"apiGroups": ["placement.moorage.io"], "resources": ["placementoverrides"], "verbs": ["*"]}
OVERRIDING = {"apiGroups": ["placement.moorage.io"], "resources": ["placements"], "verbs": ["override"]}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    world = worlds.world(3, delay=0.01, cpu="2")
    world["users"].append({"name": "bob", "groups": [], "workspaces": {worlds.TEAM: "none"}})
    world["users"].append({"name": "olga", "groups": [], "workspaces": {ROOT: "none", worlds.TEAM: "none"}})
    async with together(tmp_path, world, in_place_seconds=600.0, denied_ttl_seconds=0.0) as found:
        yield found


def override(name: str, kind: str, *targets: str, ref: str = "web", **spec: Any) -> dict[str, Any]:
    meta = {"apiVersion": "placement.moorage.io/v1alpha1", "kind": "PlacementOverride", "metadata": {"name": name}}
    about = {"placementRef": {"name": ref, "namespace": worlds.NAMESPACE}}
    named = [{"name": each, "workspace": worlds.PLATFORM} for each in targets]
    return {**meta, "spec": {"type": kind, **about, "targets": named, "reason": "the lift burns", **spec}}


async def accepted(client: Client, name: str, reason: str) -> dict[str, Any]:
    """The condition of an override, once it says so."""

    async def look() -> dict[str, Any]:
        found = await client.get(OVERRIDES, name)
        return condition(found.get("status") or {"conditions": []}, "Accepted") if found.get("status") else {}

    said: dict[str, Any] = await until(look, f"{name} says {reason}", holds=lambda found: found.get("reason") == reason)
    return said


async def moves_to(system: Together, name: str, *targets: str) -> None:
    async def look() -> list[str]:
        return sorted(await system.chosen(name))

    await until(look, f"{name} is decided to be in {targets}", holds=lambda found: found == sorted(targets))
    await system.reaches(name, "Ready")


async def says(system: Together, name: str, status: str) -> None:
    """Wait until the Placement says whether it is overridden."""

    async def look() -> Any:
        return condition(await system.status(name), "Overridden").get("status")

    await until(look, f"{name} says Overridden={status}", holds=lambda found: found == status)


async def test_a_placement_is_forced_and_goes_on_as_before_when_that_is_taken_back(system: Together) -> None:
    await system.place("web", worlds.deployment("web"), targets={"names": ["cluster-000"]})
    await system.reaches("web", "Ready")
    await system.user.create(OVERRIDES, override("hand", "Force", "cluster-002"))
    await moves_to(system, "web", "cluster-002")
    assert (await accepted(system.user, "hand", "InForce"))["status"] == "True"
    decision = await system.decision("web")
    (said,) = decision["overrides"]
    assert (said["name"], said["type"], said["reason"]) == ("hand", "Force", "the lift burns")
    assert decision["rationale"].endswith("; Force by override hand: the lift burns")
    assert decision["history"][0]["why"] == "OverrideChanged"
    events = [(each["reason"], each["message"]) for each in (await system.user.list(EVENTS, worlds.NAMESPACE)).items]
    assert ("Overridden", "Force by override hand: the lift burns.") in events
    await says(system, "web", "True")
    await system.user.delete(OVERRIDES, "hand")
    await moves_to(system, "web", "cluster-000")
    assert not (await system.decision("web")).get("overrides")
    await says(system, "web", "False")


async def test_what_is_excluded_is_left_until_the_override_ends_by_itself(system: Together) -> None:
    await system.place("web", worlds.deployment("web"), targets={"names": ["cluster-000", "cluster-001"]})
    await system.reaches("web", "Ready")
    (there,) = await system.chosen("web")
    other = "cluster-001" if there == "cluster-000" else "cluster-000"
    ends = rfc3339(time.time() + 6.0)
    await system.user.create(OVERRIDES, override("out", "Exclude", there, expiresAt=ends))
    await moves_to(system, "web", other)
    said = (await system.decision("web"))["rejected"]["Excluded"]
    assert (said["count"], said["messages"][0]["message"]) == (1, "excluded by override out")
    assert said["messages"][0]["detail"] == "the lift burns"
    assert (await accepted(system.user, "out", "Expired"))["status"] == "False"

    async def free() -> bool:
        return not (await system.decision("web")).get("overrides")

    await until(free, "it is decided anew without the override")
    assert await system.chosen("web") == [other], "what runs stays"


async def test_force_never_over_commits_unless_it_says_so(system: Together) -> None:
    await system.place("big", worlds.deployment("big", cpu="1500m"), targets={"names": ["cluster-001"]})
    await system.reaches("big", "Ready")
    await system.place("web", worlds.deployment("web", cpu="1"), targets={"names": ["cluster-000"]})
    await system.reaches("web", "Ready")
    await system.user.create(OVERRIDES, override("hand", "Force", "cluster-001"))

    async def refused() -> dict[str, Any]:
        return await system.decision("web")

    said = await until(refused, "it does not fit", holds=lambda found: found.get("refusal") == "ForcedUnfit")
    assert "forces it to cluster-001, which cannot take it: insufficient cpu" in said["rationale"]
    assert await system.chosen("web") == ["cluster-000"], "it stays where it is"
    await system.user.merge_patch(OVERRIDES, "hand", {"spec": {"overCommit": True}})
    await until(partial(system.chosen, "web"), "it is forced there", holds=lambda found: found == ["cluster-001"])
    assert await system.reserved("cluster-001") == pytest.approx(2.5)
    assert (await system.decision("web"))["overrides"][0]["overCommit"]
    assert await system.applied("web", "cluster-000"), "it stays where it runs until it runs where it was forced to"


async def test_who_may_write_overrides_but_not_override_changes_nothing(system: Together, tmp_path: Path) -> None:
    await grant(system.admin.cluster(worlds.TEAM), "bob", ACCESS, WRITING)
    (path,) = sorted(tmp_path.rglob("*user-bob*"))  # noqa: ASYNC240 - a folder of a test
    async with Client(load_kubeconfig(path)) as client:
        await _forge(system, client.cluster(worlds.TEAM))


async def _forge(system: Together, bob: Client) -> None:
    await system.place("web", worlds.deployment("web"), targets={"names": ["cluster-000"]})
    await system.reaches("web", "Ready")
    await bob.create(OVERRIDES, override("forged", "Force", "cluster-002"))
    message = (await accepted(system.user, "forged", "NotAuthorized"))["message"]
    assert message.startswith("bob may not override the placement web here")
    body = override("as-alice", "Force", "cluster-002")
    body["metadata"]["annotations"] = {"placement.moorage.io/requester": '{"username":"alice","groups":["team"]}'}
    await bob.create(OVERRIDES, body)
    assert (await accepted(system.user, "as-alice", "NotAuthorized"))["message"].startswith("bob may not")
    assert await system.chosen("web") == ["cluster-000"]
    # Whoever changes what another's override says makes it their own.
    await system.user.create(OVERRIDES, override("own", "Avoid", "cluster-001", ref="none"))
    await accepted(system.user, "own", "InForce")
    await bob.merge_patch(OVERRIDES, "own", {"spec": {"type": "Force", "placementRef": {"name": "web"}}})
    await accepted(system.user, "own", "NotAuthorized")
    assert await system.chosen("web") == ["cluster-000"]
    # Nor does anybody but the controller say that it is in force.
    found = await bob.get(OVERRIDES, "forged")
    with pytest.raises(ApiError) as denied:
        await bob.replace(OVERRIDES, {**found, "status": {"conditions": []}}, subresource="status")
    assert denied.value.forbidden
    await system.user.delete(OVERRIDES, "own")
    # With the verb it is another matter; a denial is remembered for 30 seconds at most.
    await grant(system.admin.cluster(worlds.TEAM), "bob", OVERRIDING)
    await bob.merge_patch(OVERRIDES, "as-alice", {"spec": {"reason": "now with a right"}})
    await moves_to(system, "web", "cluster-002")

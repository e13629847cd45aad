"""A quota over all clusters: what it leaves is placed, what exceeds it waits and says why, what is given back helps."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import bucket_name
from shared.broker.store import Bucket
from shared.hub.resources import PLACEMENTS, QUOTAS
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS
from shared.pipeline.buckets import CHARGES
from tests.support import worlds
from tests.support.together import Together, together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(180)]

WITHIN = 60.0
ORG = "root:org"
TEAM = "root:org:team"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    """Two targets with room for everything, for a team in an organization of its own."""
    async with together(tmp_path, world(), release_seconds=1.0, quota_seconds=0.1) as found:
        yield found


def quota(name: str = "team", workspace: str = "team", **hard: Any) -> dict[str, Any]:
    return {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "PlacementQuota",
        "metadata": {"name": name},
        "spec": {"workspace": workspace, "hard": hard},
    }


def world() -> dict[str, Any]:
    alice = {"name": worlds.USER, "groups": ["team"], "workspaces": {TEAM: "admin", worlds.PLATFORM: "none"}}
    return {**worlds.world(2), "workspaces": [worlds.PLATFORM, ORG, TEAM], "users": [alice]}


def org(system: Together) -> Client:
    return system.admin.cluster(ORG)


async def in_force(system: Together, name: str = "team", **used: str) -> dict[str, Any]:
    """The status of a quota, once so much is used of it."""

    async def look() -> dict[str, Any]:
        return (await org(system).get(QUOTAS, name)).get("status") or {}

    def holds(status: dict[str, Any]) -> bool:
        ready = any(each["status"] == "True" for each in status.get("conditions", ()))
        return ready and status.get("used", {}) == {**status.get("used", {}), **used}

    found: dict[str, Any] = await until(look, f"of the quota {used} is used", holds=holds, within=WITHIN)
    return found


async def place(system: Together, name: str, replicas: int = 1, **spec: Any) -> None:
    await system.place(name, worlds.deployment(name, replicas=replicas), **spec)


async def test_what_exceeds_it_waits_and_says_how_much_is_used_and_is_placed_when_something_is_given_back(
    system: Together,
) -> None:
    await org(system).create(QUOTAS, quota(cpu="500m"))
    await in_force(system, cpu="0")
    await place(system, "first", replicas=3)
    await system.reaches("first", "Ready")
    assert (await in_force(system, cpu="300m"))["hard"] == {"cpu": "500m"}

    await place(system, "second", replicas=3)
    status = await system.reaches("second", "Unschedulable")
    said = next(each["message"] for each in status["conditions"] if each["type"] == "Scheduled")
    assert "the quota team of root:org over all clusters leaves too little" in said
    assert "0.3 of 0.5 cpu used and 0.3 more asked for" in said
    assert (await system.decision("second"))["refusal"] == "QuotaExceeded"

    await system.edit(DEPLOYMENTS, "first", {"replicas": 2})
    await system.reaches("second", "Ready")
    await in_force(system, cpu="500m")
    await system.user.delete(PLACEMENTS, "first", worlds.NAMESPACE)
    await system.user.delete(PLACEMENTS, "second", worlds.NAMESPACE)
    await in_force(system, cpu="0")


async def test_what_runs_already_counts_and_stays_where_a_quota_is_less(system: Together) -> None:
    await place(system, "web", replicas=4, count=2)
    await system.reaches("web", "Ready")
    await org(system).create(QUOTAS, quota(cpu="500m", placements=1, pods=100))
    assert (await in_force(system, cpu="800m"))["used"] == {"cpu": "800m", "pods": "8", "placements": "1"}
    await system.edit(DEPLOYMENTS, "web", {"replicas": 5})
    await system.reaches("web", "Unschedulable")
    assert len(await system.chosen("web")) == 2
    await system.edit(DEPLOYMENTS, "web", {"replicas": 2})
    await system.reaches("web", "Ready")
    await in_force(system, cpu="400m")
    await place(system, "other")
    await system.reaches("other", "Unschedulable")
    await org(system).merge_patch(QUOTAS, "team", {"spec": {"hard": {"placements": 2}}})
    await system.reaches("other", "Ready")


async def test_what_is_charged_is_charged_again_where_the_bucket_was_emptied(tmp_path: Path) -> None:
    settings = {"release_seconds": 1.0, "quota_seconds": 0.1}
    async with (
        NatsServer(tmp_path / "nats") as server,
        together(tmp_path, world(), nats=server.url, copies=2, **settings) as system,
    ):
        await org(system).create(QUOTAS, quota(cpu="500m"))
        await in_force(system, cpu="0")
        for name in ("gone", "stays"):
            await place(system, name, replicas=2)
            await system.reaches(name, "Ready")
        await in_force(system, cpu="400m")
        await emptied(server.url, CHARGES)
        await system.user.delete(PLACEMENTS, "gone", worlds.NAMESPACE)  # what knows of it is given back all the same
        await place(system, "more", replicas=4)
        await system.reaches("more", "Unschedulable")
        await place(system, "fits", replicas=3)
        await system.reaches("fits", "Ready")
        await in_force(system, cpu="500m")
        await system.edit(DEPLOYMENTS, "stays", {"replicas": 3})
        await system.reaches("stays", "Unschedulable")
        await system.user.delete(PLACEMENTS, "fits", worlds.NAMESPACE)
        await system.reaches("stays", "Ready")
        await in_force(system, cpu="300m")


async def emptied(url: str, bucket: Bucket[Any]) -> None:
    """Purge the stream of a bucket: nobody who follows it is told."""
    client = await nats.connect(url)
    try:
        assert await client.jetstream().purge_stream(f"KV_{bucket_name(bucket)}")
    finally:
        await client.close()


async def test_it_bounds_a_workspace_or_a_namespace_together_and_others_not(system: Together) -> None:
    await org(system).create(QUOTAS, quota("elsewhere", "other", placements=0))
    bounded = quota("shop", placements=0)
    bounded["spec"]["namespace"] = "shop"
    await org(system).create(QUOTAS, bounded)
    await in_force(system, "shop", placements="0")
    await place(system, "web")
    await system.reaches("web", "Ready")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hard": {"cpu": "1"}}, "nobody bounds themselves"),
        ({"workspace": "team", "hard": {"cpu": "-1"}}, "spec.hard.cpu"),
        ({"workspace": "team", "hard": {"cpu": "many"}}, "spec.hard.cpu"),
        ({"workspace": "team", "hard": {"requests.cpu": "1"}}, "hard names placements, pods"),
        ({"workspace": "team", "hard": {"replicas": "1"}}, "each replica is one"),
        ({"workspace": "team", "hard": {}}, "must name something that is bounded"),
        ({"workspace": "team", "hard": {f"example.com/{'x' * 117}": "1"}}, "128 characters at most"),
        ({"workspace": "team", "hard": {f"example.com/{each}": "1" for each in range(17)}}, "spec.hard"),
        ({"workspace": "root:team!", "hard": {"cpu": "1"}}, "spec.workspace"),
    ],
)
async def test_bad_ones_are_refused_with_a_sentence(system: Together, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError) as error:
        await org(system).create(QUOTAS, {**quota(), "spec": spec})
    assert said in error.value.message


async def test_whom_it_bounds_is_for_good(system: Together) -> None:
    await org(system).create(QUOTAS, quota(cpu="1"))
    with pytest.raises(ApiError, match="is for good: make another one"):
        await org(system).merge_patch(QUOTAS, "team", {"spec": {"workspace": "platform"}})
    with pytest.raises(ApiError, match="is for good: make another one"):
        await org(system).merge_patch(QUOTAS, "team", {"spec": {"namespace": "apps"}})


async def test_a_tenant_bounds_nobody_but_those_below_and_writes_no_status(system: Together) -> None:
    with pytest.raises(ApiError, match="nobody bounds themselves"):
        await system.user.create(QUOTAS, {**quota(), "spec": {"hard": {"cpu": "1"}}})
    await system.user.create(QUOTAS, quota("below", "shop", cpu="1"))
    await system.user.create(QUOTAS, quota("others", "org", placements=0))  # of root:org:team:platform
    with pytest.raises(ApiError, match="written by Moorage alone"):
        await system.user.merge_patch(QUOTAS, "below", {"status": {"used": {"cpu": "0"}}}, subresource="status")
    with pytest.raises(ApiError):
        await system.user.cluster(ORG).create(QUOTAS, quota(cpu="1000"))
    await place(system, "web")
    await system.reaches("web", "Ready")

"""What is in force though its object is gone goes, whoever missed that; what its bucket lost comes back by itself."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.controller import sweep
from shared.broker.store import Bucket
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import POLICIES as PLACEMENT_POLICIES
from shared.hub.resources import QUOTAS as PLACEMENT_QUOTAS
from shared.hub.resources import WORKLOAD_KINDS
from shared.pipeline.buckets import KINDS, POLICIES, QUOTAS
from tests.support import worlds
from tests.support.manifests import policy
from tests.support.together import Together, together, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(180)]

ORG = "root:org"
TEAM = "root:org:team"
QUOTA = {
    "apiVersion": PLACEMENT_QUOTAS.api_version,
    "kind": PLACEMENT_QUOTAS.kind,
    "metadata": {"name": "team"},
    "spec": {"workspace": "team", "hard": {"cpu": "1"}},
}
KIND = {
    "apiVersion": WORKLOAD_KINDS.api_version,
    "kind": WORKLOAD_KINDS.kind,
    "metadata": {"name": "clonesets.apps.kruise.io"},
    "spec": {"group": "apps.kruise.io", "kind": "CloneSet", "pods": [{"template": "spec.template"}]},
}
OBJECTS = {
    QUOTAS: (PLACEMENT_QUOTAS, QUOTA),
    POLICIES: (PLACEMENT_POLICIES, policy("open", {"name": "any", "expression": "true"})),
    KINDS: (WORKLOAD_KINDS, KIND),
}
BUCKETS = pytest.mark.parametrize("bucket", OBJECTS, ids=lambda bucket: bucket.name)


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Together]:
    monkeypatch.setattr(sweep, "UNFOLLOWED_SECONDS", 0.5)
    alice = {"name": worlds.USER, "groups": ["team"], "workspaces": {TEAM: "admin", worlds.PLATFORM: "none"}}
    world = {**worlds.world(2), "workspaces": [worlds.PLATFORM, ORG, TEAM], "users": [alice]}
    async with together(tmp_path, world) as found:
        yield found


def table(system: Together, bucket: Bucket[Any]) -> Table[Any]:
    return Table(system.store, bucket)


def leftover(bucket: Bucket[Any], workspace: str) -> tuple[str, Any]:
    """The key and the entry of something that was in a workspace once."""
    said: dict[str, Any] = {"workspace": workspace, "name": "old"}
    if bucket is QUOTAS:
        said |= {"uid": "old", "bounds": TEAM, "hard": {"placements": 0.0}}
    elif bucket is POLICIES:
        said["spec"] = {"rules": [{"name": "nowhere", "expression": "false"}]}
    else:
        said["spec"] = {"group": "example.com", "kind": "Old", "pods": [{"template": "spec.template"}]}
    return join(workspace, "old"), msgspec.convert(said, bucket.holds)


@BUCKETS
@pytest.mark.parametrize("workspace", [ORG, "root:org:gone", "root:gone:below"])
async def test_what_is_left_of_what_nobody_saw_go_is_in_force_no_more(
    system: Together, bucket: Bucket[Any], workspace: str
) -> None:
    key, entry = leftover(bucket, workspace)
    await table(system, bucket).put(key, entry)

    async def there() -> bool:
        return await table(system, bucket).get(key) is not None

    await until(there, "it is in force no more", holds=lambda found: not found)
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")


@BUCKETS
async def test_what_a_bucket_has_lost_is_published_again_though_nothing_happens(
    system: Together, bucket: Bucket[Any]
) -> None:
    resource, obj = OBJECTS[bucket]
    await system.admin.cluster(ORG).create(resource, obj)

    async def published() -> list[str]:
        return [entry.key for entry in await table(system, bucket).entries()]

    keys = await until(published, "it is published")
    for key in keys:
        await table(system, bucket).delete(key)
    await until(published, "it is published again", holds=lambda found: found == keys)


async def test_what_is_in_a_workspace_that_nobody_can_ask_about_stays(system: Together) -> None:
    """That it is not followed is no proof."""
    key, entry = leftover(QUOTAS, "elsewhere")
    await table(system, QUOTAS).put(key, entry)
    gone, other = leftover(QUOTAS, ORG)
    await table(system, QUOTAS).put(gone, other)

    async def there() -> bool:
        return await table(system, QUOTAS).get(gone) is not None

    await until(there, "the other one is gone", holds=lambda found: not found)
    assert await table(system, QUOTAS).get(key) is not None

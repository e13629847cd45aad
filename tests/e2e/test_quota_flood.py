"""A tenant who writes more quotas than a workspace may have in force takes nothing from others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.table import Table
from shared.hub.resources import QUOTAS
from shared.kube.client import Client
from shared.model.quota import WorkspaceQuota
from shared.model.refs import QuotaRef
from shared.pipeline.buckets import QUOTAS as BUCKET
from tests.support import worlds
from tests.support.together import Together, together, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(180)]

ORG = "root:org"
TEAM = "root:org:team"
MOST = 3
FLOOD = 30


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    alice = {"name": worlds.USER, "groups": ["team"], "workspaces": {TEAM: "admin", worlds.PLATFORM: "none"}}
    world = {**worlds.world(2), "workspaces": [worlds.PLATFORM, ORG, TEAM], "users": [alice]}
    async with together(tmp_path, world, quota_seconds=0.1, max_workspace_quotas=MOST) as found:
        yield found


def quota(name: str, workspace: str, placements: int = 0) -> dict[str, Any]:
    return {
        "apiVersion": QUOTAS.api_version,
        "kind": QUOTAS.kind,
        "metadata": {"name": name},
        "spec": {"workspace": workspace, "hard": {"placements": placements}},
    }


async def published(system: Together, workspace: str) -> list[str]:
    """The names of the quotas of a workspace that workers go by."""
    entries = await Table(system.store, BUCKET).entries()
    return sorted(each.value.name for each in entries if each.value.workspace == workspace)


async def said(client: Client) -> dict[str, tuple[str, str]]:
    """Status and reason of InForce of each quota of a workspace."""
    found = {}
    for each in (await client.list(QUOTAS)).items:
        for condition in (each.get("status") or {}).get("conditions", ()):
            found[each["metadata"]["name"]] = (condition["status"], condition["reason"])
    return found


async def test_a_flood_of_quotas_is_not_in_force_and_says_so_and_others_are_bounded_as_before(
    system: Together,
) -> None:
    org = system.admin.cluster(ORG)
    await org.create(QUOTAS, quota("team", "team"))
    await until(lambda: said(org), "it holds", holds=lambda found: found.get("team") == ("True", "InForce"))
    for number in range(FLOOD):
        await system.user.create(QUOTAS, quota(f"flood-{number:02}", f"below-{number}"))

    async def reasons() -> list[str]:
        return sorted(reason for _, reason in (await said(system.user)).values())

    wanted = ["InForce"] * MOST + ["TooMany"] * (FLOOD - MOST)
    await until(reasons, "three hold, the others say why not", holds=lambda found: found == wanted)
    holding = await published(system, TEAM)
    assert len(holding) == MOST

    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Unschedulable")
    await org.merge_patch(QUOTAS, "team", {"spec": {"hard": {"placements": 1}}})
    await system.reaches("web", "Ready")

    await system.user.delete(QUOTAS, holding[0])
    await until(
        lambda: published(system, TEAM),
        "the next is in its place",
        holds=lambda found: len(found) == MOST and holding[0] not in found,
    )


async def test_what_is_beyond_the_most_and_in_force_all_the_same_is_so_no_more(system: Together) -> None:
    """As where the most was lowered."""
    for number in range(MOST + 1):
        await system.user.create(QUOTAS, quota(f"q-{number}", f"below-{number}"))

    async def beyond() -> list[str]:
        return [name for name, (_, reason) in (await said(system.user)).items() if reason == "TooMany"]

    (name,) = await until(beyond, "one does not hold")
    uid = (await system.user.get(QUOTAS, name))["metadata"]["uid"]
    entry = WorkspaceQuota(workspace=TEAM, name=name, uid=uid, bounds=f"{TEAM}:below", hard={"placements": 0.0})
    await Table(system.store, BUCKET).put(QuotaRef(workspace=TEAM, name=name).key, entry)
    assert name in await published(system, TEAM)
    await until(lambda: published(system, TEAM), "it holds no more", holds=lambda found: name not in found)
    assert len(await published(system, TEAM)) == MOST

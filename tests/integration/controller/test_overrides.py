"""PlacementOverrides over HTTP (the sandbox): their status says that nothing acts on them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.controller import overrides
from services.sandbox.wire.faults import Fault
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.resources import OVERRIDES
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES
from tests.support.scene import RIVAL, TEAM, Scene, follow
from tests.support.waiting import until

SPEC = {"type": "Exclude", "placementRef": {"name": "web"}, "targets": [{"name": "east"}], "reason": "it burns"}


@pytest.fixture
async def followed(scene: Scene) -> AsyncIterator[Scene]:
    """A scene whose overrides are answered in the workspaces that are stored."""
    async with follow(scene, WORKSPACES) as (workspaces,):
        running = asyncio.create_task(overrides.follow(Hub(scene.hub, "kcp"), workspaces, scene.clock))
        yield scene
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()


async def discover(scene: Scene, path: str) -> None:
    """Store a workspace, as discovery does."""
    await Table(scene.store, WORKSPACES).put(join(path), Workspace(path=path))


async def create(scene: Scene, name: str = "keep-out", workspace: str = TEAM) -> None:
    body = {"apiVersion": OVERRIDES.api_version, "kind": OVERRIDES.kind, "metadata": {"name": name}, "spec": SPEC}
    await scene.hub.cluster(workspace).create(OVERRIDES, body)


async def answered(scene: Scene, generation: int = 1, name: str = "keep-out", workspace: str = TEAM) -> dict[str, Any]:
    """The override, once its status is of that generation."""
    return await until(
        lambda: scene.hub.cluster(workspace).get(OVERRIDES, name),
        f"an answer to generation {generation}",
        holds=lambda found: found.get("status", {}).get("observedGeneration") == generation,
    )


async def test_an_override_says_that_nothing_acts_on_it(followed: Scene) -> None:
    await create(followed)
    await discover(followed, TEAM)
    found = await answered(followed)
    (condition,) = found["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Accepted", "False", "NotImplemented")
    assert condition["message"] == overrides.SENTENCE
    assert condition["observedGeneration"] == 1


async def test_the_status_is_written_once_per_generation(followed: Scene) -> None:
    requests = followed.count_requests(TEAM)
    await discover(followed, TEAM)
    await create(followed)
    first = await answered(followed)
    await followed.team.merge_patch(OVERRIDES, "keep-out", {"metadata": {"labels": {"seen": "1"}}})
    await followed.team.merge_patch(OVERRIDES, "keep-out", {"spec": {"reason": "it still burns"}})
    second = await answered(followed, generation=2)
    await create(followed, "another")
    await answered(followed, name="another")
    writes = [each for each in requests if each.startswith("PUT") and "/placementoverrides/" in each]
    assert [each.rpartition("placementoverrides/")[2] for each in writes] == [
        "keep-out/status", "keep-out/status", "another/status"
    ]  # fmt: skip
    times = [each["status"]["conditions"][0]["lastTransitionTime"] for each in (first, second)]
    assert times[0] == times[1]


async def test_a_status_that_could_not_be_written_is_written_later(followed: Scene) -> None:
    fault = Fault(kind="403", cluster=TEAM, verb="update", times=1)
    followed.ready.sandbox.faults.add(fault)
    await discover(followed, TEAM)
    await create(followed)
    await answered(followed)


async def test_two_copies_of_the_worker_say_the_same(followed: Scene) -> None:
    await discover(followed, TEAM)
    async with follow(followed, WORKSPACES) as (workspaces,):
        other = asyncio.create_task(overrides.follow(Hub(followed.hub, "kcp"), workspaces, followed.clock))
        await create(followed)
        assert len((await answered(followed))["status"]["conditions"]) == 1
        other.cancel()
        await asyncio.wait([other])
        assert other.cancelled(), "it did not end by itself"


async def test_workspaces_come_and_go(followed: Scene) -> None:
    await discover(followed, TEAM)
    await discover(followed, RIVAL)
    await create(followed, workspace=RIVAL)
    await answered(followed, workspace=RIVAL)
    table = Table(followed.store, WORKSPACES)
    entry = await table.get(join(RIVAL))
    assert entry is not None
    await table.delete(join(RIVAL), entry.revision)
    await create(followed)
    await answered(followed)
    await discover(followed, RIVAL)
    await create(followed, "late", workspace=RIVAL)
    await answered(followed, name="late", workspace=RIVAL)

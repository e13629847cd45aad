"""What of the hub frees room for placements that wait, watched over HTTP (the sandbox)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.controller.workspace import WorkspaceWatch
from shared.hub.access import AllowAll
from shared.hub.resources import DECISIONS
from tests.support.scene import BOUND, PLATFORM, Scene
from tests.support.waiting import until


@pytest.fixture
async def freed(scene: Scene) -> AsyncIterator[asyncio.Queue[int]]:
    """An entry, the newest attempt of `web`, for every time that the watch said that something was freed."""
    told: asyncio.Queue[int] = asyncio.Queue()

    def note() -> None:
        decision = watch.decision(watch.ref("shop", "web"))
        told.put_nowait(decision.attempt if decision else 0)

    watch = WorkspaceWatch("root:team", scene.team, AllowAll(), *[lambda _: None] * 5, note)
    running = asyncio.create_task(watch.run())
    await until(lambda: watch.synced)
    yield told
    running.cancel()
    await asyncio.wait([running])


async def decide(scene: Scene, attempt: int, **cpu: float) -> None:
    selected: list[dict[str, Any]] = [
        {"target": {"workspace": PLATFORM, "name": name}, "reserved": {"cpu": amount}} for name, amount in cpu.items()
    ]
    status = {"status": {"attempt": attempt, "selected": selected}}
    await scene.team.merge_patch(DECISIONS, "web", status, "shop")


async def test_a_decision_that_takes_less_than_before_is_told_and_no_other(scene: Scene, freed) -> None:
    decision = {"apiVersion": DECISIONS.api_version, "kind": "PlacementDecision"}
    await scene.team.create(DECISIONS, {**decision, "metadata": {"name": "web", "namespace": "shop"}})
    for attempt, cpu in enumerate(({"east": 2}, {"east": 3}, {"west": 1}, {"west": 1, "east": 4}, {"east": 3.5}), 1):
        await decide(scene, attempt, **cpu)
    async with asyncio.timeout(BOUND):
        assert await freed.get() == 5
    assert freed.empty()

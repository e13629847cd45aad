"""kill -9 of every worker, and of the broker, under way: nothing is lost, doubled or over-committed."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.quantity import parse_quantity
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

PLACEMENTS_UNDER_WAY = 200
TARGETS = 10
ROOM = 2.2  # cores of each target, for placements of 0.1: 22 each, 220 in all
LEASE = {"MOORAGE_RESYNC_SECONDS": "8"}


async def test_kill_9_of_each_worker_in_turn_loses_and_doubles_nothing(tmp_path: Path):
    world = worlds.world(TARGETS, cpu=str(ROOM))
    async with running_system(tmp_path, world, env=LEASE) as system:
        names = [f"app-{number:03}" for number in range(PLACEMENTS_UNDER_WAY)]
        making = asyncio.create_task(_make(system, names))
        for victim in PIPELINE:
            await _some_progress(system)
            before = system.running.children[victim].pid
            assert before
            os.kill(before, signal.SIGKILL)
        await making
        await _all_placed(system, names)
        assert sum(child.restarts for child in system.running.children.values()) >= len(PIPELINE)
        await _nothing_lost_doubled_or_overcommitted(system, names)


async def test_a_killed_broker_is_resumed_with_nothing_lost_or_doubled(tmp_path: Path):
    world = worlds.world(TARGETS, cpu=str(ROOM))
    async with running_system(tmp_path, world, env=LEASE) as system:
        names = [f"app-{number:03}" for number in range(60)]
        making = asyncio.create_task(_make(system, names))
        for _ in range(3):
            await _some_progress(system)
            assert system.running.nats is not None
            system.running.nats.kill()
        await making
        await _all_placed(system, names)
        await _nothing_lost_doubled_or_overcommitted(system, names)


async def _make(system: System, names: list[str]) -> None:
    for name in names:
        await system.place_app(name, cpu="100m")


async def _some_progress(system: System) -> None:
    """Wait until several more placements are decided than now, so that a kill strikes in the middle of work."""
    before = await _decided(system)

    async def further() -> bool:
        return len(await _decided(system)) >= min(len(before) + 5, PLACEMENTS_UNDER_WAY)

    await until(further, "progress between two kills", within=90)


async def _decided(system: System) -> dict[str, dict[str, Any]]:
    page = await system.user.list(DECISIONS, worlds.NAMESPACE)
    found = ((item["metadata"]["name"], item.get("status") or {}) for item in page.items)
    return {name: status for name, status in found if status.get("selected")}


async def _all_placed(system: System, names: list[str]) -> None:
    async def ready() -> bool:
        page = await system.user.list(PLACEMENTS, worlds.NAMESPACE)
        phases = [(item.get("status") or {}).get("phase") for item in page.items]
        return phases.count("Ready") == len(names)

    await until(ready, "all placements are Ready", within=150)


async def _nothing_lost_doubled_or_overcommitted(system: System, names: list[str]) -> None:
    decided = await _decided(system)
    assert sorted(decided) == names
    found: dict[str, list[str]] = {}
    for target, client in system.targets.items():
        applied = (await client.list(DEPLOYMENTS, worlds.NAMESPACE)).items
        used = 0.0
        for deployment in applied:
            name = deployment["metadata"]["name"]
            found.setdefault(name, []).append(target)
            requests = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
            used += deployment["spec"]["replicas"] * parse_quantity(requests["cpu"])
            assert deployment["metadata"]["generation"] == 1, f"{name} was applied twice with different content"
        assert used <= ROOM + 1e-9, f"{target} is over-committed: {used}"
    selected = {name: [each["target"]["name"] for each in status["selected"]] for name, status in decided.items()}
    assert found == selected

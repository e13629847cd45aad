"""kill -9 of decision, as often as it takes: requests come and go with what is needed, and none is left behind."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import CLUSTER_REQUESTS, PLACEMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

WITHIN = 120.0
MANY = 6
BRISK = {"MOORAGE_RELEASE_SECONDS": "2", "MOORAGE_RESYNC_SECONDS": "8"}


async def kill(system: System) -> None:
    """Kill decision, and wait until there is another."""
    child = system.running.children["decision"]
    pid = child.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: child.pid, "decision is there again", holds=lambda now: now not in (None, pid), within=WITHIN)


async def requests(system: System) -> list[str]:
    found: list[dict[str, Any]] = (await system.user.list(CLUSTER_REQUESTS, worlds.NAMESPACE)).items
    return sorted(each["metadata"]["name"] for each in found)


async def test_none_is_missing_and_none_is_left_behind_whenever_decision_is_killed(tmp_path: Path) -> None:
    names = [f"web-{number}" for number in range(MANY)]
    async with running_system(tmp_path, worlds.world(2, cpu="4"), env=BRISK) as system:
        for number, name in enumerate(names):
            await system.place_app(name, count=3, whenUnfulfilled="Request")  # of two targets
            if number % 2:
                await kill(system)

        async def all_asked() -> bool:
            return await requests(system) == names

        await until(all_asked, "each of them is asked for", within=WITHIN)
        for number, name in enumerate(names):
            wanted = (
                {"spec": {"targets": {"count": {"min": 2}}}} if number % 3 else {"spec": {"whenUnfulfilled": "Wait"}}
            )
            await system.user.merge_patch(PLACEMENTS, name, wanted, worlds.NAMESPACE)
            if number % 2:
                await kill(system)

        async def none_left() -> bool:
            return await requests(system) == []

        await until(none_left, "none of them is asked for", within=WITHIN)
        placed = [name for number, name in enumerate(names) if number % 3]

        async def all_ready() -> bool:
            return all([await system.ready(name) for name in placed])

        await until(all_ready, "what fits is Ready", within=WITHIN)

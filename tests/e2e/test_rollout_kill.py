"""A rollout while every worker is killed, and changed again on its way: its bound holds, and it ends."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

TARGETS = 6


async def change(system: System, version: str) -> None:
    patch = {"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}
    await system.user.merge_patch(DEPLOYMENTS, "web", patch, worlds.NAMESPACE)


async def seen(system: System) -> list[dict[str, Any]]:
    """The Deployment in each target."""
    return [await client.get(DEPLOYMENTS, "web", worlds.NAMESPACE) for client in system.targets.values()]


def has(found: dict[str, Any], version: str) -> bool:
    return bool((found["spec"]["template"]["metadata"].get("annotations") or {}).get("version") == version)


def runs(found: dict[str, Any]) -> bool:
    """Whether all replicas of the newest template are there."""
    status = found.get("status") or {}
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    return bool(current and status.get("readyReplicas") == found["spec"]["replicas"])


async def test_its_bound_holds_while_each_worker_is_killed_and_another_change_reaches_all(tmp_path: Path) -> None:
    async with running_system(
        tmp_path, worlds.world(TARGETS, delay=1.0), env={"MOORAGE_RESYNC_SECONDS": "8"}
    ) as system:
        await system.place_app("web", count=TARGETS, rollout={"maxConcurrent": 1})
        await until(lambda: system.ready("web"), "web is Ready")
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                now = await seen(system)
                most = max(most, sum(has(each, "1") and not runs(each) for each in now))
                await asyncio.sleep(0.1)

        async def reached(version: str, targets: int) -> None:
            async def look() -> int:
                return sum(has(each, version) for each in await seen(system))

            await until(look, f"{targets} targets have {version}", holds=lambda found: found >= targets)

        watching = asyncio.create_task(watch())
        await change(system, "1")
        for number, victim in enumerate(PIPELINE):
            await reached("1", min(1 + number // 2, 3))
            before = system.running.children[victim].pid
            assert before
            os.kill(before, signal.SIGKILL)
        await reached("1", 4)
        watching.cancel()
        assert most == 1
        assert not all(has(each, "1") for each in await seen(system)), "it is on its way"
        await change(system, "2")
        await reached("2", TARGETS)
        await until(lambda: system.ready("web"), "web is Ready")

"""Break before make while every worker is killed, and drains come and go: it never runs in two clusters at once."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE
from shared.hub.names import DRAIN_TAINT
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(420)]

TARGETS = 3


async def drain(system: System, target: str, drained: bool = True) -> None:
    taints = [{"key": DRAIN_TAINT, "effect": "NoExecute"}] if drained else None
    await system.admin.cluster(worlds.PLATFORM).merge_patch(SYNCTARGETS, target, {"spec": {"taints": taints}})


async def runs_in(system: System, name: str = "db") -> dict[str, str]:
    """Where the Deployment is, by its uid."""
    found: dict[str, str] = {}
    for target, client in system.targets.items():
        selector = f"metadata.name={name}"
        for each in (await client.list(DEPLOYMENTS, worlds.NAMESPACE, field_selector=selector)).items:
            found[each["metadata"]["uid"]] = target
    return found


async def at_once(system: System, name: str = "db") -> dict[str, str]:
    """Where it is at one moment: what is there in two looks was there all the time between them."""
    first = await runs_in(system, name)
    if len(first) < 2:
        return {}
    second = await runs_in(system, name)
    return {uid: target for uid, target in first.items() if uid in second}


async def test_it_never_runs_twice_while_each_worker_is_killed_and_a_drain_is_taken_back_on_the_way(
    tmp_path: Path,
) -> None:
    async with running_system(
        tmp_path, worlds.world(TARGETS, delay=0.2), env={"MOORAGE_RESYNC_SECONDS": "5"}
    ) as system:
        await system.place_app("db", stability={"moves": "BreakBeforeMake"})
        await until(lambda: system.ready("db"), "db is Ready")
        twice: list[dict[str, str]] = []

        async def watch() -> None:
            while True:
                found = await at_once(system)
                if len(found) > 1:
                    twice.append(found)
                await asyncio.sleep(0.05)

        async def moved(home: str) -> Any:
            there = list((await runs_in(system)).values())
            return there if len(there) == 1 and there != [home] else []

        watching = asyncio.create_task(watch())
        for number, victim in enumerate(PIPELINE):
            (home,) = list((await runs_in(system)).values())
            await drain(system, home)
            if number % 3 == 2:  # taken back when the next target is chosen, or is not
                await until(lambda home=home: _decided_elsewhere(system, home), "another target is chosen")
                await drain(system, home, False)
                (chosen,) = await system.chosen("db")
                await drain(system, chosen)
                home = chosen
            pid = system.running.children[victim].pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda home=home: moved(home), f"it has left {home}", within=90)
            for target in system.targets:
                await drain(system, target, False)
            await until(lambda: system.ready("db"), "db is Ready again", within=90)
        assert not watching.done(), watching.exception()
        watching.cancel()
        assert twice == []


async def _decided_elsewhere(system: System, home: str) -> bool:
    return home not in await system.chosen("db")

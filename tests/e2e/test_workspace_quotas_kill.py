"""A quota over all clusters is kept on separate processes while these are killed, and none of it is lost for good."""

import asyncio
import itertools
import operator
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import DECISIONS, PLACEMENTS, QUOTAS
from shared.kube.client import Client
from shared.kube.quantity import parse_quantity
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.timeout(300),
]

WITHIN = 120.0
ORG = "root:org"
TEAM = "root:org:team"
BRISK = {"MOORAGE_QUOTA_SECONDS": "0.2", "MOORAGE_RELEASE_SECONDS": "2", "MOORAGE_RESYNC_SECONDS": "5"}
UNDER_WAY = 5
"""Changes since the last death after which the next comes: something is in hand by then."""
KILLED = ("decision", "scheduler", "binding")
HARD = 1.0
NAMES = tuple(f"app-{number}" for number in range(6))
SIZES = (1, 4, 2, 3, 0)
"""Replicas of 100m each; 0 has a placement removed, and made anew after that."""


def world() -> dict[str, Any]:
    alice = {"name": worlds.USER, "groups": ["team"], "workspaces": {TEAM: "admin", worlds.PLATFORM: "none"}}
    return {**worlds.world(2), "workspaces": [worlds.PLATFORM, ORG, TEAM], "users": [alice]}


def cores(deployment: dict[str, Any]) -> float:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return float(deployment["spec"]["replicas"]) * float(parse_quantity(container["resources"]["requests"]["cpu"]))


async def runs(client: Client) -> dict[str, float]:
    """Cores by the name of what runs in a target."""
    found = (await client.list(DEPLOYMENTS, worlds.NAMESPACE)).items
    return {each["metadata"]["name"]: cores(each) for each in found}


async def running(system: System) -> float:
    """What runs in both targets at one moment, at the least: that of the second target's answer."""
    first, second = system.targets.values()
    before, there, after = await runs(first), await runs(second), await runs(first)
    return sum(there.values()) + sum(min(before[name], after[name]) for name in before.keys() & after.keys())


class Team:
    """Places, resizes and removes until it is done."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.size: dict[str, int] = {}
        self.changes = 0
        self.done = False

    async def resize(self, name: str, replicas: int) -> None:
        user = self._system.user
        if not replicas and name not in self.size:
            return
        if not replicas and self.size.get(name):
            await user.delete(PLACEMENTS, name, worlds.NAMESPACE)
        elif replicas and name not in self.size:
            await self._system.place_app(name, replicas=replicas)
        elif replicas:
            await user.merge_patch(DEPLOYMENTS, name, {"spec": {"replicas": replicas}}, worlds.NAMESPACE)
            if not self.size[name]:
                await self._made_anew(name)
        self.size[name] = replicas

    async def _made_anew(self, name: str) -> None:
        async def gone() -> bool:
            found = (await self._system.user.list(PLACEMENTS, worlds.NAMESPACE)).items
            return name not in {each["metadata"]["name"] for each in found}

        await until(gone, f"{name} is removed", within=WITHIN)
        await self._system.user.create(PLACEMENTS, worlds.placement(name))

    async def keep_changing(self) -> None:
        for name, replicas in zip(itertools.cycle(NAMES), itertools.cycle(SIZES), strict=False):
            if self.done:
                return
            await self.resize(name, replicas)
            self.changes += 1
            await asyncio.sleep(0.2)


async def used(system: System) -> dict[str, str]:
    status = (await system.admin.cluster(ORG).get(QUOTAS, "team")).get("status") or {}
    found: dict[str, str] = status.get("used", {}) if status.get("conditions") else {}
    return found


async def decided(system: System) -> float:
    """The cores that all decisions name."""
    found = (await system.user.list(DECISIONS, worlds.NAMESPACE)).items
    chosen = (each for decision in found for each in (decision.get("status") or {}).get("selected", ()))
    return sum(float(each["reserved"]["cpu"]) for each in chosen)


async def kill(system: System, victim: str) -> None:
    before = system.running.children[victim].pid
    assert before
    os.kill(before, signal.SIGKILL)
    await until(
        lambda: system.running.children[victim].pid,
        f"{victim} is back",
        holds=lambda pid: pid not in (None, before),
    )


async def test_what_runs_never_exceeds_it_and_what_is_given_back_is_used_while_workers_are_killed(
    tmp_path: Path,
) -> None:
    async with running_system(tmp_path, world(), env=BRISK) as system:
        spec = {"workspace": "team", "hard": {"cpu": str(int(HARD)), "pods": 100, "placements": 100}}
        quota = {"apiVersion": "placement.moorage.io/v1alpha1", "kind": "PlacementQuota", "metadata": {"name": "team"}}
        await system.admin.cluster(ORG).create(QUOTAS, {**quota, "spec": spec})
        await until(lambda: used(system), "it is in force", holds=lambda found: found.get("cpu") == "0", within=WITHIN)
        team, most = Team(system), [0.0]

        async def watch() -> None:
            while True:
                most.append(await running(system))
                await asyncio.sleep(0.05)

        watching, changing = asyncio.create_task(watch()), asyncio.create_task(team.keep_changing())
        for victim in (*KILLED, *KILLED):
            enough = team.changes + UNDER_WAY
            await until(lambda: team.changes, "it changes", holds=partial(operator.le, enough), within=WITHIN)
            await kill(system, victim)
        assert not changing.done(), changing
        team.done = True
        await changing

        # More is wanted than there is: what fits is placed, whoever was killed with what in hand.
        for name in NAMES:
            await team.resize(name, 2)

        async def ready() -> dict[str, str]:
            """Why each is where it is, empty for those that are Ready."""
            found = {name: await system.status(name) for name in NAMES}
            return {name: "" if each.get("phase") == "Ready" else str(each) for name, each in found.items()}

        def five(found: dict[str, str]) -> bool:
            return list(found.values()).count("") == 5

        placed = await until(ready, "five of six are placed", holds=five, within=WITHIN)
        full = {"cpu": "1", "pods": "10", "placements": "5"}
        await until(lambda: used(system), "all of it is used", holds=lambda found: found == full, within=WITHIN)
        assert await decided(system) == pytest.approx(HARD)

        (waits,) = [name for name, why in placed.items() if why]
        leaves = next(name for name in NAMES if name != waits)
        await system.user.delete(PLACEMENTS, leaves, worlds.NAMESPACE)
        await until(lambda: system.ready(waits), "the room that is given back is used", within=WITHIN)
        await until(lambda: used(system), "all of it is used", holds=lambda found: found == full, within=WITHIN)
        assert await decided(system) == pytest.approx(HARD)
        assert not watching.done(), watching
        watching.cancel()
        assert max(most) > 0.5 * HARD, "it was put to use meanwhile"
        assert max(most) <= HARD + 1e-6

"""Rollouts, drains, overrides and evictions at once, with kills of every worker: each one's bound holds at each look.

MOORAGE_STORM_SECONDS says how long it lasts (45 where it is not set).
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services import PIPELINE
from shared.hub.moving import eviction
from shared.hub.names import EVICT_ANNOTATION
from shared.hub.resources import OVERRIDES, PLACEMENTS
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.e2e.test_moves_kill import at_once, drain
from tests.e2e.test_rollout_kill import has, runs
from tests.support import worlds

SECONDS = float(os.environ.get("MOORAGE_STORM_SECONDS", "45"))
SEED = int(os.environ.get("MOORAGE_STORM_SEED", "1"))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.timeout(SECONDS + 420),
]

TARGETS = 5
ONE, SOME, ALL = "one", "some", "all"
"""What may not run twice; what leaves one target at a time; what changes in one target at a time."""


class Storm:
    """Who drains, evicts, overrides, changes and kills; and what was seen that may not be."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.chance = random.Random(SEED)
        self.drained: str | None = None
        self.version = 0
        self.looks = 0
        self.wrong: list[str] = []

    async def drain(self) -> None:
        """One cluster after the other, each for a while; one is not waited for."""
        if self.drained is not None:
            await drain(self.system, self.drained, False)
        self.drained = self.chance.choice(list(self.system.targets))
        await drain(self.system, self.drained)

    async def evict(self) -> None:
        name = self.chance.choice((ONE, SOME))
        chosen = await self.system.chosen(name)
        if chosen:
            request = eviction(self.chance.choice(chosen), str(self.chance.random()))
            patch = {"metadata": {"annotations": {EVICT_ANNOTATION: request}}}
            await self.system.user.merge_patch(PLACEMENTS, name, patch, worlds.NAMESPACE)

    async def override(self) -> None:
        """Keep what may not run twice out of a cluster, or nothing of anything any more."""
        with contextlib.suppress(ApiError):
            await self.system.user.delete(OVERRIDES, "storm")
        spec = {
            "type": self.chance.choice(("Exclude", "Force")),
            "placementRef": {"name": ONE, "namespace": worlds.NAMESPACE},
            "targets": [{"name": self.chance.choice(list(self.system.targets))}],
            "reason": "a storm",
        }
        body = {
            "apiVersion": OVERRIDES.api_version,
            "kind": OVERRIDES.kind,
            "metadata": {"name": "storm"},
            "spec": spec,
        }
        if self.chance.random() < 0.7:
            await self.system.user.create(OVERRIDES, body)

    async def change(self) -> None:
        """Another version of what is everywhere."""
        self.version += 1
        patch = {"spec": {"template": {"metadata": {"annotations": {"version": str(self.version)}}}}}
        await self.system.user.merge_patch(DEPLOYMENTS, ALL, patch, worlds.NAMESPACE)

    async def kill(self) -> None:
        child = self.system.running.children[self.chance.choice(list(PIPELINE))]
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it is being started again
                os.kill(child.pid, signal.SIGKILL)

    async def look(self) -> None:
        """Each bound, as it is now."""
        self.looks += 1
        if len(found := await at_once(self.system, ONE)) > 1:
            self.wrong.append(f"{ONE} runs twice: {found}")
        before = set(await self.system.chosen(SOME))
        there = {each["spec"]["target"]["name"] for each in await self._bindings(SOME)}
        leaving = there - before
        if len(leaving) > 1 and before == set(await self.system.chosen(SOME)):
            self.wrong.append(f"{SOME} is leaving {leaving}")
        version = str(self.version)
        everywhere = await asyncio.gather(
            *(each.get(DEPLOYMENTS, ALL, worlds.NAMESPACE) for each in self.system.targets.values())
        )
        changing = sum(has(each, version) and not runs(each) for each in everywhere)
        if changing > 1:
            self.wrong.append(f"{ALL} is changing to {version} in {changing} targets")

    async def _bindings(self, name: str) -> list[dict[str, dict[str, dict[str, str]]]]:
        return [each for each in await self.system.bindings() if each["spec"]["placementRef"]["name"] == name]

    async def rage(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        async def every(pause: float, act: Callable[[], Awaitable[None]]) -> None:
            while time.monotonic() < end:
                with contextlib.suppress(ApiError):  # somebody else wrote: another time
                    await asyncio.gather(act(), asyncio.sleep(pause))

        acts = ((6.0, self.drain), (3.0, self.evict), (4.0, self.override), (15.0, self.change), (4.0, self.kill))
        await asyncio.gather(every(1.0, self.look), *(every(pause, act) for pause, act in acts))

    async def calm(self) -> None:
        """Take back what was asked for, but for what is to be placed."""
        with contextlib.suppress(ApiError):
            await self.system.user.delete(OVERRIDES, "storm")
        if self.drained is not None:
            await drain(self.system, self.drained, False)


async def test_each_bound_holds_at_each_look_and_all_is_ready_in_the_end(tmp_path: Path) -> None:
    async with running_system(
        tmp_path, worlds.world(TARGETS, delay=0.5), env={"MOORAGE_RESYNC_SECONDS": "5"}
    ) as system:
        await system.place_app(ONE, stability={"moves": "BreakBeforeMake"})
        await system.place_app(SOME, count=2, stability={"disruptionBudget": 1})
        everywhere = {"count": {"min": TARGETS}, "tolerations": [{"operator": "Exists"}]}
        await system.place_app(ALL, targets=everywhere, rollout={"maxConcurrent": 1})
        for name in (ONE, SOME, ALL):
            await until(lambda name=name: system.ready(name), f"{name} is Ready", within=120)
        storm = Storm(system)
        await storm.rage(SECONDS)
        await storm.calm()
        version = str(storm.version)

        async def settled() -> bool:
            await storm.look()
            phases = [await system.ready(name) for name in (ONE, SOME, ALL)]
            found = [await each.get(DEPLOYMENTS, ALL, worlds.NAMESPACE) for each in system.targets.values()]
            once = len(await system.placed(ONE)) == 1
            return once and all(phases) and all(has(each, version) and runs(each) for each in found)

        await until(settled, "all is Ready", within=180)
        assert storm.wrong == []
        assert storm.looks > SECONDS / 10

"""Placements that arrive while something is killed, and what has to hold of them at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.quantity import parse_quantity
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, until
from tests.support import worlds

STEP = 5  # placements that are decided between two kills


class Arriving:
    """So many placements of a tenth of a core each."""

    def __init__(self, system: System, many: int) -> None:
        self.names = [f"app-{number:03}" for number in range(many)]
        self._system = system

    async def make(self) -> None:
        for name in self.names:
            await self._system.place_app(name, cpu="100m")

    async def progress(self) -> None:
        """Wait until several more are decided than now, so that what is done next strikes in the middle of work."""
        before = await self.decided()

        async def further() -> bool:
            return len(await self.decided()) >= min(len(before) + STEP, len(self.names))

        await until(further, "progress between two kills", within=90)

    async def decided(self) -> dict[str, dict[str, Any]]:
        """What is decided, by name."""
        page = await self._system.user.list(DECISIONS, worlds.NAMESPACE)
        found = ((item["metadata"]["name"], item.get("status") or {}) for item in page.items)
        return {name: status for name, status in found if status.get("selected")}

    async def placed(self) -> None:
        """Wait until all are Ready."""

        async def unready() -> dict[str, str | None]:
            page = await self._system.user.list(PLACEMENTS, worlds.NAMESPACE)
            phases = {item["metadata"]["name"]: (item.get("status") or {}).get("phase") for item in page.items}
            return {name: phases.get(name) for name in self.names if phases.get(name) != "Ready"}

        await until(unready, "all placements are Ready", holds=lambda found: not found, within=150)

    async def nothing_lost_doubled_or_overcommitted(self, room: float) -> None:
        """`room`: cores of each target."""
        decided = await self.decided()
        assert sorted(decided) == self.names
        found: dict[str, list[str]] = {}
        for target, client in self._system.targets.items():
            applied = (await client.list(DEPLOYMENTS, worlds.NAMESPACE)).items
            used = 0.0
            for deployment in applied:
                name = deployment["metadata"]["name"]
                found.setdefault(name, []).append(target)
                requests = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
                used += deployment["spec"]["replicas"] * parse_quantity(requests["cpu"])
                assert deployment["metadata"]["generation"] == 1, f"{name} was applied twice with different content"
            assert used <= room + 1e-9, f"{target} is over-committed: {used}"
        selected = {name: [each["target"]["name"] for each in status["selected"]] for name, status in decided.items()}
        assert found == selected


@asynccontextmanager
async def arriving(system: System, many: int, room: float) -> AsyncIterator[Arriving]:
    """So many placements arrive within the block; after it all have to be there, once each, and nothing too often."""
    placements = Arriving(system, many)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(placements.make())
        yield placements
    await placements.placed()
    await placements.nothing_lost_doubled_or_overcommitted(room)

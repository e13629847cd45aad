"""One placement to very many targets: its decision is in slices, and everybody reads it whole."""

from pathlib import Path

import pytest

from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from tests.support import worlds
from tests.support.together import together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(500)]

TARGETS, FEWER = 250, 195
WITHIN = 200.0  # seconds: some hundred objects are applied, and removed again


async def test_a_placement_is_placed_in_250_targets_and_leaves_some(tmp_path: Path) -> None:
    async with together(tmp_path, worlds.world(TARGETS, delay=0.05), pace={}) as system:

        async def bound() -> int:
            return len((await system.user.list(BINDINGS, worlds.NAMESPACE)).items)

        async def slices() -> list[int]:
            found = (await system.user.list(DECISIONS, worlds.NAMESPACE)).items
            return sorted(len(each["status"]["decisions"]) for each in found)

        async def ready(count: int) -> bool:
            status = await system.status("web")
            return status.get("phase") == "Ready" and status["counts"]["ready"] == count

        await system.place("web", worlds.deployment("web"), targets={"count": {"min": TARGETS, "max": TARGETS}})
        await until(lambda: ready(TARGETS), "it is ready everywhere", within=WITHIN)
        assert (await slices(), await bound()) == ([50, 100, 100], TARGETS)

        await system.edit(PLACEMENTS, "web", {"targets": {"count": {"min": FEWER, "max": FEWER}}})
        await until(bound, "it has left the others", holds=lambda found: found == FEWER, within=WITHIN)
        await until(lambda: ready(FEWER), "it is ready where it stays", within=WITHIN)
        assert await slices() == [95, 100]

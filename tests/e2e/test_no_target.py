"""A Placement that asks for no target keeps its place, runs nowhere, and comes back."""

from pathlib import Path

import pytest

from shared.hub.resources import PLACEMENTS
from tests.support import worlds
from tests.support.manifests import condition
from tests.support.together import together, until
from tests.support.waiting import PAUSE

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


async def test_what_runs_is_removed_where_no_target_is_wanted_and_placed_again_where_one_is(tmp_path: Path) -> None:
    async with together(tmp_path, worlds.world(2)) as system:
        await system.place("web", worlds.deployment("web"))
        await system.reaches("web", "Ready")
        (home,) = await system.chosen("web")

        await system.edit(PLACEMENTS, "web", {"targets": {"count": {"min": 0, "max": None}}})
        status = await system.reaches("web", "Idle")
        assert condition(status, "Ready")["status"] == condition(status, "Scheduled")["status"] == "True"
        assert condition(status, "Ready")["reason"] == condition(status, "Scheduled")["reason"] == "NoneWanted"
        assert await system.applied("web", home) is None
        assert await system.bindings() == []
        decision = await system.decision("web")
        assert (decision.get("selected", []), decision["rationale"]) == ([], "no target is wanted")
        await until(lambda: system.reserved(home), "its room is given back", holds=lambda found: not found, pause=PAUSE)

        await system.edit(PLACEMENTS, "web", {"targets": {"count": {"min": 1, "max": None}}})
        await system.reaches("web", "Ready")
        assert len(await system.chosen("web")) == 1

"""Workers scaled by what waits for them: a burst is absorbed, nothing flaps, nothing is lost when copies end."""

from itertools import pairwise
from pathlib import Path

import pytest

from shared.broker.dead import DEAD_LETTERS
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.scaling import Autoscaler, scaled_system, wave
from tests.e2e.system import System
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(540)]

BURST = 200
TARGETS = 8
LATE = {"cluster": "target:*", "verb": "patch", "seconds": 1.5}
"""What is applied takes so long that on any machine more arrives for binding meanwhile than one copy is given."""


async def test_a_burst_is_absorbed_nothing_flaps_and_nothing_is_lost_on_the_way_down(tmp_path: Path):
    async with scaled_system(tmp_path, targets=TARGETS, most=3, fault=LATE) as (system, scaler):
        names = await wave(system, scaler, BURST, pause=1.0)
        assert len(names) > BURST, "placements came also while copies ended"
        assert "binding" in _grown(scaler), f"no burst was seen: {scaler.samples}"
        for worker in _grown(scaler):
            assert _turns(scaler, worker) <= 1, f"{worker} flaps: {[each.copies[worker] for each in scaler.samples]}"
        assert scaler.ended
        assert set(scaler.ended.values()) == {0}, scaler.ended
        assert all(child.restarts == 0 for child in system.running.children.values())
        await _each_is_placed_once(system, names)
        assert await _dead(scaler) == 0


def _grown(scaler: Autoscaler) -> list[str]:
    """The workers that had several copies at some time."""
    return [name for name in scaler.copies if max(each.copies[name] for each in scaler.samples) > 1]


def _turns(scaler: Autoscaler, worker: str) -> int:
    """How often copies that had become more became fewer, or the other way round."""
    copies = [each.copies[worker] for each in scaler.samples]
    ways = [after > before for before, after in pairwise(copies) if after != before]
    return sum(before != after for before, after in pairwise(ways))


async def _each_is_placed_once(system: System, names: list[str]) -> None:
    placed = []
    for client in system.targets.values():
        for deployment in (await client.list(DEPLOYMENTS, worlds.NAMESPACE)).items:
            placed.append(deployment["metadata"]["name"])
            assert deployment["metadata"]["generation"] == 1, "it was applied twice with different content"
    assert sorted(placed) == sorted(names)


async def _dead(scaler: Autoscaler) -> int:
    """How many messages were given up."""
    (account,) = (await scaler.monitored())["account_details"]
    streams = {each["name"]: each["state"]["messages"] for each in account["stream_detail"]}
    return int(streams[DEAD_LETTERS.name])

"""Most targets are lost at once, on separate processes: nothing moves until they are back."""

import asyncio

import pytest
import pytest_asyncio

from services.cli.sandbox import fault
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.manifests import condition

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("e2e"),
]

BRISK = {
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "5",
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory):
    async with running_system(tmp_path_factory.mktemp("brake"), worlds.world(6), env=BRISK) as found:
        yield found


async def faults(system: System, *args: str) -> None:
    """`moorage sandbox fault`."""
    assert await asyncio.to_thread(fault, [*args, "--kubeconfig", system.place.kubeconfig]) == 0


async def test_of_six_targets_five_are_lost_and_one_placement_stays_and_then_one_is_lost_and_it_moves(system: System):
    await system.place_app("web")
    await until(lambda: system.ready("web"), "web is Ready")
    (home,) = await system.chosen("web")
    others = sorted(set(system.targets) - {home})
    for target in (home, *others[:4]):
        await faults(system, "add", "unavailable", "--cluster", f"target:{target}")

    async def held() -> str:
        status = await system.status("web")
        told = [each for each in status.get("conditions", ()) if each["type"] == "Held"]
        return told[0]["status"] if told else ""

    await until(held, "web is held", holds=lambda said: said == "True")
    assert await system.chosen("web") == [home]
    assert "most targets of" in condition(await system.status("web"), "Held")["message"]

    await faults(system, "clear")
    await until(held, "the brake is off", holds=lambda said: said == "False")
    assert await system.chosen("web") == [home]

    await faults(system, "add", "unavailable", "--cluster", f"target:{home}")

    async def moved() -> bool:
        return await system.chosen("web") not in ([], [home])

    await until(moved, "web has moved")

"""A whole placement where each worker has its own user in NATS, and no rights but those of its declaration."""

from pathlib import Path

import pytest

from services import PIPELINE
from shared.broker.nats.bus import NatsBus
from shared.hub.resources import PLACEMENTS
from tests.e2e.system import running_system, until
from tests.support import worlds
from tests.support.secured import secured

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e")]


def denied(logs: Path) -> list[str]:
    """The lines of all logs in which NATS refuses something."""
    return [line for log in logs.glob("*.log") for line in log.read_text().splitlines() if "ermissions" in line]


async def test_each_worker_does_its_part_of_a_placement_with_its_own_user_only(tmp_path: Path) -> None:
    async with secured(tmp_path / "secured") as nats:
        env_of = {name: nats.environment(name) for name in PIPELINE}
        world = worlds.world(3, cpu="8")
        async with running_system(tmp_path, world, nats=nats.server.url, env_of=env_of) as system:
            await system.place_app("web", count=2, replicas=2)
            await until(lambda: system.ready("web"), "web is Ready")
            assert len(await system.placed("web")) == 2
            await system.user.delete(PLACEMENTS, "web", worlds.NAMESPACE)

            async def gone() -> bool:
                return not await system.placed("web")

            await until(gone, "nothing of web is left")
            assert denied(Path(system.running.place.logs)) == []
        async with nats.client("operator") as client:
            assert [letter async for letter in NatsBus(client).dead_letters()] == []

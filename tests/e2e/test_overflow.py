"""A burst beyond what the pipeline's stream holds, on separate processes and a real nats-server."""

import asyncio
from pathlib import Path

import nats
import pytest

from shared.hub.resources import PLACEMENTS
from shared.pipeline.topology import PIPELINE_STREAM
from tests.e2e.system import running_system, until
from tests.support import worlds

WITHIN = 180.0  # seconds
pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(WITHIN + 60)]

PLACED = 16
SIZE = 1 << 16  # bytes: a placement has some 9,000 in the stream
BRISK = {
    "MOORAGE_PIPELINE_MAX_BYTES": str(SIZE),
    "MOORAGE_RESYNC_SECONDS": "5",  # longer than a round takes on a loaded machine
    "MOORAGE_IN_PLACE_SECONDS": "8",
}


async def test_every_placement_of_a_burst_that_overflows_the_stream_is_ready_in_the_end(tmp_path: Path) -> None:
    async with running_system(tmp_path, worlds.world(4), env=BRISK) as system:
        await asyncio.gather(*(system.place_app(f"burst-{number:02}") for number in range(PLACED)))

        async def all_ready():
            placements = (await system.user.list(PLACEMENTS, worlds.NAMESPACE)).items
            return [each["status"]["phase"] for each in placements if each.get("status")] == ["Ready"] * PLACED

        await until(all_ready, "every placement is Ready", within=WITHIN)
        client = await nats.connect(system.place.nats)
        state = (await client.jetstream().stream_info(PIPELINE_STREAM)).state
        await client.close()
        assert state.bytes <= SIZE
        assert state.messages < PLACED * 7  # one per stage: some went

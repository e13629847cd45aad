"""kill -9 of every worker, and of the broker, under way: nothing is lost, doubled or over-committed."""

import os
import signal
from pathlib import Path

import pytest

from services import PIPELINE
from tests.e2e.arriving import arriving
from tests.e2e.system import running_system
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

TARGETS = 10
ROOM = 2.2  # cores of each target, for placements of 0.1: 22 each, 220 in all
LEASE = {"MOORAGE_RESYNC_SECONDS": "8"}


async def test_kill_9_of_each_worker_in_turn_loses_and_doubles_nothing(tmp_path: Path):
    world = worlds.world(TARGETS, cpu=str(ROOM))
    async with running_system(tmp_path, world, env=LEASE) as system:
        async with arriving(system, 200, ROOM) as placements:
            for victim in PIPELINE:
                await placements.progress()
                before = system.running.children[victim].pid
                assert before
                os.kill(before, signal.SIGKILL)
        assert sum(child.restarts for child in system.running.children.values()) >= len(PIPELINE)


async def test_a_killed_broker_is_resumed_with_nothing_lost_or_doubled(tmp_path: Path):
    world = worlds.world(TARGETS, cpu=str(ROOM))
    async with running_system(tmp_path, world, env=LEASE) as system, arriving(system, 60, ROOM) as placements:
        for _ in range(3):
            await placements.progress()
            assert system.running.nats is not None
            system.running.nats.kill()

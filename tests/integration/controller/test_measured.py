"""What the controller shows of itself on its health endpoint."""

from pathlib import Path

from services.controller.worker import worker
from shared.broker.table import Table
from shared.model.refs import TargetRef
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY
from tests.support.discovery import opened
from tests.support.waiting import until

PLATFORM = "root:platform"


async def test_how_many_targets_the_brake_holds_is_shown_while_it_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        table = Table(scene.store, INVENTORY)

        async def lose(lost_since: float) -> None:
            for number in range(5):
                target = Target(workspace=PLATFORM, name=f"t{number}", uid=str(number), lost_since=lost_since)
                await table.put(TargetRef(workspace=PLATFORM, name=target.name).key, target)

        await lose(0.0)
        async with scene.running_worker(worker):
            assert await scene.measured("moorage_brake_held_targets") == {"": 0.0}
            await lose(1000.0)
            await until(lambda: scene.measured("moorage_brake_held_targets"), holds=lambda found: found == {"": 5.0})

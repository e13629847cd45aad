"""What commands read of placements on a hub."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli.hub.placed import placed
from shared.hub.hub import Hub
from tests.support.scene import TEAM, Scene, opened


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as found:
        yield found


async def test_what_a_placement_of_all_with_a_label_may_select_is_read_of_every_common_kind(scene: Scene) -> None:
    await scene.workload()
    await scene.config()
    await scene.place(workload=[{"all": True, "labelSelector": {"matchLabels": {"app": "web"}}}])
    found, _ = await placed(Hub(scene.hub, "kcp"), TEAM)
    assert {"Placement web", "Deployment web", "ConfigMap settings"} <= {
        f"{each['kind']} {each['metadata']['name']}" for each in found
    }

"""Workspaces of kcp that are Ready, and that not all of it has taken notice of yet."""

import pytest

from services.cli.hub.applying import await_answers
from services.sandbox.wire.faults import Fault, Kind
from shared.kube.errors import ApiError
from tests.support.scene import TEAM, Scene


@pytest.mark.parametrize("kind", ["lag", "503"])
async def test_a_workspace_that_does_not_answer_yet_is_waited_for(scene: Scene, kind: Kind) -> None:
    scene.ready.sandbox.faults.add(Fault(kind=kind, cluster=TEAM, times=3))
    await await_answers(scene.team, within=60)


async def test_one_that_goes_on_not_being_known_is_told_as_that(scene: Scene) -> None:
    with pytest.raises(ApiError) as found:
        await await_answers(scene.team.cluster("root:nowhere"), within=0.3)
    assert found.value.unknown_workspace


async def test_one_that_refuses_is_not_waited_for(scene: Scene) -> None:
    fault = scene.ready.sandbox.faults.add(Fault(kind="403", cluster=TEAM))
    await await_answers(scene.team, within=60)
    _, hits = scene.ready.sandbox.faults.listed()[fault]
    assert hits == 1

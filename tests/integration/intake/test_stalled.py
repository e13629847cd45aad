"""A copy of intake that is stalled before it writes, for so long that others go on, overwrites nothing newer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.intake.core import Placing, RequestRejected
from services.intake.writing import Writer
from shared.broker.bus import Retry
from shared.hub.access import AllowAll
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import DEPLOYMENTS
from shared.model.refs import PlacementRef
from shared.model.request import Requester
from tests.support.client import if_there
from tests.support.manifests import deployment, placement
from tests.support.scene import TEAM

REF = PlacementRef(workspace=TEAM, namespace="shop", name="web")
ALICE = Requester(username="alice", groups=("team",))


@pytest.fixture
async def writer(desk) -> AsyncIterator[Writer]:
    async with open_hub(desk.settings, field_manager("intake")) as hub:
        yield Writer(hub, AllowAll())


def version(number: int, *objects: dict) -> Placing:
    return Placing(REF, placement("web", priority=number), objects)


class Newest:
    """Which version was begun last, as the journal has it. `stalls`: at this look, who looks is held until `go`."""

    def __init__(self, *, stalls: int = 1) -> None:
        self.number = 1
        self.looks = 0
        self.stalled, self.go = asyncio.Event(), asyncio.Event()
        self._stalls = stalls

    async def still_the_first(self) -> None:
        found, self.looks = self.number, self.looks + 1
        if found != 1:
            raise RequestRejected("Superseded", "a later one came")
        if self.looks == self._stalls:
            self.stalled.set()
            await self.go.wait()


async def always() -> None:
    """It is the last that was begun."""


async def test_a_first_write_that_comes_late_does_not_overwrite_what_others_placed_meanwhile(desk, writer):
    newest = Newest()
    late = asyncio.create_task(writer.place(version(1), ALICE, newest.still_the_first))
    await newest.stalled.wait()
    await writer.place(version(1), ALICE, always)  # another copy has the request, since it was delivered again
    newest.number = 2
    await writer.place(version(2), ALICE, always)
    newest.go.set()
    with pytest.raises(RequestRejected, match="a later one came"):
        await late
    found = await desk.scene.team.get(PLACEMENTS, "web", "shop")
    assert (found["spec"]["priority"], found["metadata"]["generation"]) == (2, 2)


async def test_a_later_write_that_comes_late_does_not_either(desk, writer):
    await writer.place(version(0), ALICE, always)
    newest = Newest()
    late = asyncio.create_task(writer.place(version(1), ALICE, newest.still_the_first))
    await newest.stalled.wait()
    newest.number = 2
    await writer.place(version(2), ALICE, always)
    newest.go.set()
    with pytest.raises(RequestRejected, match="a later one came"):
        await late
    assert (await desk.scene.team.get(PLACEMENTS, "web", "shop"))["spec"]["priority"] == 2


async def test_a_first_write_that_comes_while_what_was_withdrawn_is_removed_places_nothing(desk, writer):
    await writer.place(version(1), ALICE, always)
    await writer.withdraw(REF, ALICE, always)
    with pytest.raises(Retry, match="is still being removed"):
        await writer.place(version(1), ALICE, always)


async def test_a_first_write_that_comes_after_all_was_withdrawn_takes_back_what_it_made(desk, writer):
    newest = Newest()
    late = asyncio.create_task(writer.place(version(1), ALICE, newest.still_the_first))
    await newest.stalled.wait()
    await writer.place(version(1), ALICE, always)  # another copy has the request, since it was delivered again
    newest.number = 2
    await writer.withdraw(REF, ALICE, always)
    await desk.scene.team.merge_patch(
        PLACEMENTS, "web", {"metadata": {"finalizers": []}}, "shop"
    )  # nothing is left of it
    assert await if_there(desk.scene.team.get(PLACEMENTS, "web", "shop")) is None
    newest.go.set()
    with pytest.raises(RequestRejected, match="a later one came"):
        await late
    found = await if_there(desk.scene.team.get(PLACEMENTS, "web", "shop"))
    assert found is None or found["metadata"]["deletionTimestamp"]


async def test_an_object_is_not_written_once_a_later_request_was_begun(desk, writer):
    newest, second = Newest(stalls=1), {**deployment(), "metadata": {"name": "other", "namespace": "shop"}}
    late = asyncio.create_task(writer.place(version(1, deployment(), second), ALICE, newest.still_the_first))
    await newest.stalled.wait()
    newest.number = 2
    newest.go.set()
    with pytest.raises(RequestRejected, match="a later one came"):
        await late
    assert await if_there(desk.scene.team.get(DEPLOYMENTS, "other", "shop")) is None

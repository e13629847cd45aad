"""An empty bucket is not an empty world: reservations that are lost while decision runs."""

from contextlib import AsyncExitStack

import pytest

from services.decision.completeness import MARKER
from services.decision.rebuild import restored
from shared.broker.table import Entry
from shared.model.decision import Reservation
from shared.pipeline.messages import Scheduled
from tests.support.values import head
from tests.unit.decision.schedules import REFS, ROOM, TARGETS, World, opened

NEW = 1
"""A copy that has heard of nothing."""

PLACE = (REFS[0], TARGETS[0].id)

NOTHING = Entry("root=3Ap.b.root=3Ateam.apps.z", Reservation(placement=REFS[2], head=head(), resources={}), 0)


async def rebuild(world: World, **decided: Reservation) -> None:
    for key, value in decided.items():
        found = await world.table.get(key)
        await world.table.put(key, restored(None if found is None else found.value, value))
    marker = Reservation(placement=REFS[0], head=next(iter(decided.values())).head, resources={})
    await world.table.put(MARKER, marker)


async def placed(world: World) -> Entry[Reservation]:
    """What the first placement reserved, of which a copy that knows the marker has not heard."""
    await world.finish()
    world.deciders[NEW].completeness.marker = world.deciders[0].completeness.marker
    (found,) = [entry for entry in await world.table.entries() if entry.key != MARKER]
    return found


async def until_decided(world: World, number: int) -> None:
    for _ in range(30):
        if REFS[number] in world.hub.decided:
            return
        if not world.running:
            await world.deliver(len(world.pending) - 1, 0)
        await world.step(0, 1)


async def test_nothing_is_decided_from_an_emptied_bucket_until_it_is_rebuilt() -> None:
    async with AsyncExitStack() as stack:
        world = await opened(stack, 2)
        await world.ask(0, ROOM, 0)
        before = await placed(world)
        world.purge()
        await world.ask(1, ROOM, 0)
        for _ in range(3):
            await world.deliver(0, NEW)
            await world.step(0, 100)
        assert REFS[1] not in world.hub.decided
        assert any(isinstance(each, Scheduled) for each in world.pending)
        assert await world.reserved() == {(REFS[1], target.id): 0.0 for target in TARGETS[:1]}
        await rebuild(world, **{before.key: before.value})
        await world.rest()
        await world.check()
        assert world.hub.applied == {PLACE: ROOM, (REFS[1], TARGETS[1].id): ROOM}


async def test_what_was_reserved_in_an_emptied_bucket_is_undone_also_once_that_is_rebuilt() -> None:
    """Emptied and rebuilt between a reservation and the decision: the marker is there, and is another one."""
    async with AsyncExitStack() as stack:
        world = await opened(stack, 2)
        await world.ask(0, ROOM, 0)
        before = await placed(world)
        world.purge()
        await world.ask(1, ROOM, 0)
        await world.deliver(0, NEW)
        while (REFS[1], TARGETS[0].id) not in await world.reserved():
            await world.step(0, 1)
        await rebuild(world, **{before.key: before.value})
        await world.step(0, 100)
        assert REFS[1] not in world.hub.decided
        await world.rest()
        await world.check()
        assert world.hub.applied == {PLACE: ROOM, (REFS[1], TARGETS[1].id): ROOM}


@pytest.mark.parametrize("dies", [False, True])
async def test_a_decision_that_stalled_through_a_loss_and_a_rebuild_has_no_room_that_others_took(dies: bool) -> None:
    """It was not there to be listed when reservations were rebuilt, and nobody was told of it yet."""
    async with AsyncExitStack() as stack:
        world = await opened(stack, 2)
        await world.ask(0, ROOM, 0)
        await world.deliver(0, 0)
        while REFS[0] not in world.hub.writing:
            await world.step(0, 1)
        world.purge()
        await rebuild(world, **{NOTHING.key: NOTHING.value})
        await world.ask(1, ROOM, 0)
        await world.deliver(1, NEW)
        while (REFS[1], TARGETS[0].id) not in world.hub.applied:
            await world.step(1, 1)
            await world.deliver(1, NEW)
        await world.step(0, 1)
        assert REFS[0] in world.hub.decided
        if dies:
            await world.crash(0)
        await world.rest()
        await world.check()
        _, status = world.hub.decided[REFS[0]]
        assert not status.selected
        assert REFS[0] in world.contended


async def test_what_was_reserved_in_an_emptied_bucket_needs_room_once_it_is_rebuilt() -> None:
    """The worker died before it could undo it: the next delivery does not take it for something that it has."""
    async with AsyncExitStack() as stack:
        world = await opened(stack, 2)
        await world.ask(0, ROOM, 0)
        before = await placed(world)
        world.purge()
        await world.ask(1, ROOM, 0)
        await world.deliver(0, NEW)
        while (REFS[1], TARGETS[0].id) not in await world.reserved():
            await world.step(0, 1)
        await world.crash(0)
        await rebuild(world, **{before.key: before.value})
        await world.finish()
        assert world.hub.applied == {PLACE: ROOM, (REFS[1], TARGETS[1].id): ROOM}


async def test_binding_is_not_told_of_a_decision_before_its_reservation_is_back() -> None:
    async with AsyncExitStack() as stack:
        world = await opened(stack, 1)
        await world.ask(0, ROOM, 0)
        await until_decided(world, 0)
        world.purge()
        await world.step(0, 100)
        assert all(isinstance(each, Scheduled) for each in world.pending)
        assert world.hub.decided
        await rebuild(world, **{NOTHING.key: NOTHING.value})  # the decision was not listed yet
        await world.rest()
        await world.check()
        assert world.hub.applied == {PLACE: ROOM}

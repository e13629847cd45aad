"""An empty bucket is not an empty world: reservations that are lost while decision runs."""

from contextlib import AsyncExitStack

from services.decision.completeness import MARKER
from services.decision.rebuild import restored
from shared.broker.table import Entry
from shared.model.decision import Reservation
from shared.pipeline.messages import Scheduled
from tests.unit.decision.schedules import REFS, ROOM, TARGETS, World, opened

NEW = 1
"""A copy that has heard of nothing."""

PLACE = (REFS[0], TARGETS[0].id)


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


async def test_binding_is_not_told_of_a_decision_before_its_reservation_is_back() -> None:
    async with AsyncExitStack() as stack:
        world = await opened(stack, 1)
        await world.ask(0, ROOM, 0)
        await until_decided(world, 0)
        world.purge()
        await world.step(0, 100)
        assert all(isinstance(each, Scheduled) for each in world.pending)
        assert world.hub.decided
        nothing = Reservation(placement=REFS[2], head=world.pending[0].at, resources={})
        await rebuild(world, **{"root=3Ap.b.root=3Ateam.apps.z": nothing})  # the decision was not listed yet
        await world.rest()
        await world.check()
        assert world.hub.applied == {PLACE: ROOM}

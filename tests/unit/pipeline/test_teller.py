"""What was told is not told again, as far as that can be known."""

import asyncio

import pytest

from shared.broker.bus import BusError, Stream
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.model.events import SuspendedData
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent
from shared.pipeline.teller import Teller

REF = PlacementRef(workspace="root:a", namespace="n", name="p")
WINDOW = 600.0


def event(occasion: str = "1", *, repeated: bool = False) -> PlacementEvent:
    data = SuspendedData(placement=REF, uid="u", generation=1, attempt=1)
    return PlacementEvent(data=data, occasion=occasion, repeated=repeated)


class World:
    """A broker on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.broker = MemoryBroker(lambda: self.now)
        self.bus = MemoryBus(self.broker)

    def told(self) -> list[str]:
        return [each.headers["Nats-Msg-Id"] for each in self.broker.streams[EVENTS_STREAM].messages.values()]


@pytest.fixture
async def world() -> World:
    made = World()
    await made.bus.provision((Stream(name=EVENTS_STREAM, subjects=("moorage.events.>",), description="events"),), ())
    return made


async def test_a_process_tells_a_fact_once(world: World):
    teller = Teller(world.bus)
    for _ in range(2):
        await teller.tell(event(), {})
        world.now += 2 * WINDOW
    assert world.told() == [event().id]


async def test_what_another_process_may_have_told_long_ago_is_looked_up(world: World):
    await Teller(world.bus).tell(event(), {})
    world.now += 2 * WINDOW
    await Teller(world.bus).tell(event(repeated=True), {})
    assert world.told() == [event().id]


async def test_what_was_never_told_is_told_though_it_may_have_been(world: World):
    await Teller(world.bus).tell(event(), {})
    await Teller(world.bus).tell(event("2", repeated=True), {})
    assert world.told() == [event().id, event("2").id]


async def test_what_could_not_be_stored_is_told_at_the_next_time(world: World):
    teller = Teller(world.bus)
    stream = world.broker.streams.pop(EVENTS_STREAM)
    with pytest.raises(BusError):
        await teller.tell(event(), {})
    world.broker.streams[EVENTS_STREAM] = stream
    await teller.tell(event(), {})
    assert world.told() == [event().id]


async def test_two_handlers_that_come_to_the_same_fact_at_once_tell_it_once(world: World):
    teller, sent = Teller(world.bus), []
    publish = world.bus.publish

    async def slowly(subject, payload, *, id, headers=None):
        sent.append(id)
        await asyncio.sleep(0)
        return await publish(subject, payload, id=id, headers=headers)

    world.bus.publish = slowly
    await asyncio.gather(teller.tell(event(), {}), teller.tell(event(repeated=True), {}))
    assert (sent, world.told()) == ([event().id], [event().id])

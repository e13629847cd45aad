"""What a whole system tells of its placements: each fact once, in the order of a placement's life."""

from pathlib import Path

import msgspec
import pytest

from shared.cloudevents import CloudEvent, parse
from shared.hub.resources import PLACEMENTS
from shared.model.events import EVENTS, EventData, type_of
from shared.pipeline.events import EVENTS_STREAM
from tests.support import worlds
from tests.support.together import Together, together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DATA = {type_of(each.kind): each for each in EVENTS}


def told(system: Together, name: str) -> list[tuple[CloudEvent, EventData]]:
    """The events of one placement, as they are stored."""
    stored = system.broker.streams[EVENTS_STREAM].messages.values()
    events = [parse(each.payload, each.headers) for each in stored if f".{name}." in each.subject]
    return [(each, msgspec.json.decode(each.data, type=DATA[each.type])) for each in events]


def kinds(system: Together, name: str) -> list[str]:
    return [data.kind for _, data in told(system, name)]


async def shown(system: Together, name: str, kind: str, times: int = 1) -> None:
    """Wait until a kind of event is told so often."""
    await until(lambda: kinds(system, name).count(kind) >= times)


@pytest.mark.xdist_group("e2e")
async def test_the_life_of_a_placement_is_told_as_it_goes(tmp_path: Path) -> None:
    async with together(tmp_path, worlds.world(2, delay=0.01)) as system:
        await system.place("web", worlds.deployment("web"), targets={"names": ["cluster-000"]})
        await shown(system, "web", "ready")
        assert kinds(system, "web") == ["requested", "decided", "bound", "ready"]

        await system.edit(PLACEMENTS, "web", {"suspend": True})
        await shown(system, "web", "suspended")
        await system.edit(PLACEMENTS, "web", {"suspend": False, "targets": {"names": ["cluster-001"]}})
        await shown(system, "web", "removed")
        await shown(system, "web", "ready", 2)
        moved = kinds(system, "web")[5:]
        assert moved[:3] == ["requested", "decided", "moved"]
        assert sorted(moved[3:]) == ["bound", "ready", "removed"]

        await system.user.delete(PLACEMENTS, "web", worlds.NAMESPACE)
        await shown(system, "web", "removed", 3)
        assert kinds(system, "web")[11:] == ["removed", "removed"]

        events = told(system, "web")
        assert len({event.id for event, _ in events}) == len(events)
        assert [event.subject for event, _ in events] == [f"{worlds.TEAM}/{worlds.NAMESPACE}/web"] * len(events)
        assert all(event.time and "traceparent" in event.extensions for event, _ in events[:-1])
        last = events[-1][1]
        assert last.target is None

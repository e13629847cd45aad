"""`moorage events` and `moorage wait` on a real nats-server: what is there, what comes, and what never comes."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.kube.times import rfc3339
from shared.model.events import EventData, ReadyData, RefusedData, RequestedData
from shared.model.refs import PlacementRef
from shared.pipeline import topology
from shared.pipeline.events import PlacementEvent
from tests.support.process import Process, process
from tests.support.waiting import until

WORKSPACE = "root:team"
PLACEMENT = PlacementRef(workspace=WORKSPACE, namespace="shop", name="web")
OTHER = PlacementRef(workspace=WORKSPACE, namespace="shop", name="other")
ELSEWHERE = PlacementRef(workspace="root:others", namespace="shop", name="web")


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[NatsBus]:
    found = await NatsBus.connect(nats.url, name="test")
    await found.provision(topology.streams(), ())
    yield found
    await found.close()


async def happens(bus: NatsBus, kind: type[EventData], ref: PlacementRef = PLACEMENT, **fields: Any) -> None:
    """An event is published, as workers do it."""
    data = kind(placement=ref, uid="u", generation=1, attempt=1, **fields)
    event = PlacementEvent(data=data, occasion=f"{ref}", at=rfc3339(1_800_000_000.0))
    await bus.publish(event.subject, event.encoded({}), id=event.id)


def moorage(nats: NatsServer, *args: str, workspace: str = WORKSPACE) -> Any:
    env = {**os.environ, "MOORAGE_NATS_URL": nats.url, "MOORAGE_WORKSPACE": workspace}
    return process(["moorage", *args], env)


async def said(nats: NatsServer, *args: str, workspace: str = WORKSPACE) -> tuple[int, list[str]]:
    async with moorage(nats, *args, workspace=workspace) as command:
        return await command.ends(), command.lines


async def until_it_says(command: Process, text: str) -> None:
    await until(lambda: text in command.output)


async def test_events_of_a_workspace_are_shown_in_order_without_those_of_others(nats: NatsServer, bus: NatsBus) -> None:
    await happens(bus, RequestedData, cause="Created")
    await happens(bus, RequestedData, ELSEWHERE, cause="Created")
    await happens(bus, RefusedData, OTHER, code="NoTarget", message="0/8 targets: 8 insufficient cpu\x1b[2J")
    code, lines = await said(nats, "events")
    assert code == 0
    assert [line.split()[1:] for line in lines] == [
        ["shop/web", "Requested", "Created"],
        ["shop/other", "Refused", *["0/8", "targets:", "8", "insufficient", "cpu", "[2J"]],
    ]
    assert await said(nats, "events", "web", "-n", "shop") == (0, lines[:1])
    assert await said(nats, "events", "-n", "shop") == (0, lines)
    assert await said(nats, "events", "shop/web", "--since", "0s") == (
        0,
        ["moorage: no events yet on moorage.events.root=3Ateam.shop.web.>"],
    )


async def test_as_json_events_are_the_ones_that_were_published(nats: NatsServer, bus: NatsBus) -> None:
    await happens(bus, ReadyData, targets=2)
    code, lines = await said(nats, "events", "-o", "json")
    (event,) = map(json.loads, lines)
    assert code == 0
    assert event["type"] == "io.moorage.placement.ready.v1"
    assert event["data"]["targets"] == 2
    assert event["subject"] == PLACEMENT.id


async def test_with_follow_events_are_shown_as_they_come_and_garbage_is_passed_over(
    nats: NatsServer, bus: NatsBus
) -> None:
    async with moorage(nats, "events", "shop/web", "--follow") as command:
        await until_it_says(command, "no events yet")
        await bus.publish("moorage.events.root=3Ateam.shop.web.ready", b"no event", id="garbage")
        await happens(bus, ReadyData, targets=1)
        await until_it_says(command, "Ready")
        assert command.child.returncode is None
        command.child.send_signal(2)
        assert await command.ends() == 130
    assert "Traceback" not in command.output


async def test_wait_ends_at_once_where_it_is_so_and_as_soon_as_it_is(nats: NatsServer, bus: NatsBus) -> None:
    await happens(bus, ReadyData, targets=1)
    code, lines = await said(nats, "wait", "shop/web", "--for", "Ready")
    assert (code, lines) == (0, ["shop/web is Ready since 2027-01-15T08:00:00.000000Z"])
    async with moorage(nats, "wait", "shop/other", "--for", "Refused", "-o", "json") as command:
        await asyncio.sleep(0)
        await happens(bus, RefusedData, OTHER, code="NoTarget", message="0/8 targets")
        assert await command.ends() == 0
    assert json.loads(command.output)["data"]["message"] == "0/8 targets"


async def test_wait_ends_with_1_where_it_is_not_so_in_time_and_says_what_is(nats: NatsServer, bus: NatsBus) -> None:
    await happens(bus, RefusedData, code="NoTarget", message="0/8 targets")
    code, lines = await said(nats, "wait", "shop/web", "--for", "Ready", "--timeout", "1s")
    assert (code, lines) == (
        1,
        ["moorage: shop/web is not Ready within 1 s; of its events, the last is Refused 0/8 targets"],
    )


async def test_where_nobody_made_the_stream_it_says_so(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = await said(nats, "events")
    assert code == 1
    assert "no stream MOORAGE_EVENTS answers" in lines[-1]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("wait", "a/b/c", "--for", "Ready"), "PLACEMENT is NAME or NAMESPACE/NAME"),
        (("wait", "a/b", "-n", "c", "--for", "Ready"), "a/b is not in the namespace c"),
        (("wait", "web", "--for", "Happy"), "invalid choice"),
        (("wait", "web", "--for", "Ready", "--timeout", "soon"), "is not a duration such as"),
        (("events", "--since", "99999999999h"), "is too long"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_2(nats: NatsServer, args: tuple[str, ...], why: str) -> None:
    code, lines = await said(nats, *args)
    assert code == 2
    assert why in lines[-1]

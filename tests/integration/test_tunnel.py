"""Tunnels on a real nats-server in which everybody has a user of their own: what goes through, and what does not."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.broker.bus import BusError, Forbidden
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.tunnel import subjects
from shared.broker.tunnel.caller import NoAgent, Tunnels
from shared.broker.tunnel.frames import Frame, FrameKind
from shared.kube.errors import KubeError, Unreachable
from shared.pipeline.tunnels import TunnelUser, inbox
from tests.support.process import BOUND, http_get, process
from tests.support.secured import Secured, secured
from tests.support.tunnels import TlsServer, agent, content
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

NORTH, SOUTH = subjects.tunnel_id("root:a", "north", "1"), subjects.tunnel_id("root:b", "south", "2")
AGENTS = (TunnelUser(name="north", tunnel=NORTH), TunnelUser(name="south", tunnel=SOUTH))


@dataclass
class Place:
    """A secured NATS, a server that only agents know where it is, and buses of whoever asks."""

    nats: Secured
    server: TlsServer
    stack: AsyncExitStack

    async def client(self, user: str) -> NatsClient:
        options = self.nats.options(user)
        if user.startswith("tunnel-"):
            tunnel = next(each.tunnel for each in AGENTS if user == f"tunnel-{each.name}")
            options = type(options)(nkey_seed_file=options.nkey_seed_file, inbox_prefix=inbox(tunnel))
        found = await NatsClient.connect(self.nats.server.url, name=user, options=options)
        self.stack.push_async_callback(found.close)
        return found

    async def bus(self, user: str) -> NatsBus:
        return NatsBus(await self.client(user))

    async def tunnels(self, user: str = "binding") -> Tunnels:
        found = Tunnels(await self.bus(user))
        self.stack.push_async_callback(found.close)
        return found


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with secured(tmp_path, agents=AGENTS) as nats, TlsServer(tmp_path).running() as server, AsyncExitStack() as s:
        yield Place(nats, server, s)


@asynccontextmanager
async def agent_process(place: Place) -> AsyncIterator[tuple[object, int]]:
    env = {
        **os.environ,
        "MOORAGE_NATS_URL": place.nats.server.url,
        "MOORAGE_NATS_NKEY": str(place.nats.seeds / "tunnel-north.nk"),
        "MOORAGE_TUNNEL_ID": NORTH,
        "MOORAGE_TUNNEL_SERVER": f"127.0.0.1:{place.server.port}",
        "MOORAGE_LOG_FORMAT": "json",
    }
    async with process(["moorage", "worker", "tunnel"], env) as running:
        ready = await running.record(lambda record: record["message"] == "ready")
        yield running, ready["health_port"]


@pytest.mark.parametrize("user", ["discovery", "binding", "status"])
async def test_each_worker_that_reaches_targets_reaches_one_through_its_agent_alone(place: Place, user: str) -> None:
    tunnels = await place.tunnels(user)
    async with agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north:
        async with place.server.client(tunnels, NORTH) as client:
            assert await client.request("GET", "/hello") == b"/hello 0"
            assert await client.request("POST", "/up", body=b"y" * 3_000_000) == b"/up 3000000"
            assert len(await client.request("GET", "/5000000")) == 5_000_000
            found = await asyncio.gather(*(client.request("GET", f"/n{each}") for each in range(50)))
            assert found == [b"/n%d 0" % each for each in range(50)]
            assert len(north) == len(tunnels) == place.server.open > 0
        await until(lambda: not (len(north) or len(tunnels) or place.server.open), "all ends with the client")


async def test_nats_sees_neither_what_is_asked_nor_who_asks(place: Place) -> None:
    tunnels, heard = await place.tunnels(), []
    watching = await place.client("tunnel-north")  # the most that anybody else may be
    await watching.subscribe(subjects.upward(NORTH, "*"), lambda message: heard.append(message.data))
    await watching.flush()
    async with (
        agent(await place.bus("tunnel-north"), NORTH, place.server.port),
        place.server.client(tunnels, NORTH) as client,
    ):
        await client.request("POST", "/very-secret-path", body=b"very-secret-body")
    assert heard
    assert not any(word in b"".join(heard) for word in (b"secret-token", b"very-secret"))


async def test_without_an_agent_it_is_said_at_once_and_another_target_is_not_reached_instead(place: Place) -> None:
    tunnels = await place.tunnels()
    async with (
        agent(await place.bus("tunnel-south"), SOUTH, place.server.port),
        place.server.client(tunnels, NORTH) as client,
    ):
        with pytest.raises(Unreachable, match="no agent of this target is connected to NATS"):
            await client.request("GET", "/")
    assert place.server.accepted == 0


async def test_who_stands_in_for_the_server_of_a_target_is_told_nothing(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    tunnels = await place.tunnels()
    async with (
        TlsServer(tmp_path / "other").running() as impostor,
        agent(await place.bus("tunnel-north"), NORTH, impostor.port),
        place.server.client(tunnels, NORTH) as client,
    ):
        with pytest.raises(Unreachable, match="certificate"):
            await client.request("GET", "/")


async def test_an_agent_cannot_pretend_to_be_that_of_another_target(place: Place) -> None:
    """With the user of the south it can neither be asked for the north, nor hear or say anything there."""
    bus = await place.bus("tunnel-south")
    with pytest.raises(Forbidden):
        async with agent(bus, NORTH, place.server.port):
            pass
    north = await place.client("tunnel-north")
    heard: list[bytes] = []
    await north.subscribe(subjects.upward(NORTH, "*"), lambda message: heard.append(message.data))
    await north.flush()
    await bus.client.send(subjects.upward(NORTH, "0" * 16), b"from the south")
    await bus.client.send(subjects.downward(NORTH, "0" * 16), b"from the south")
    await bus.client.flush()
    await north.flush()
    assert heard == []
    for subject in (subjects.downward(NORTH, "*"), "_INBOX.>", f"{inbox(NORTH)}.>", "moorage.>"):
        with pytest.raises(Forbidden):
            await bus.listen(subject, lambda _: None, lambda: None)


@pytest.mark.parametrize("user", ["policy", "scheduler", "controller", "tunnel-south"])
async def test_who_reaches_no_targets_can_open_nothing(place: Place, user: str) -> None:
    async with agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north:
        tunnels = await place.tunnels(user)
        with pytest.raises(BusError):
            await tunnels.connect(NORTH)
        bus = await place.bus(user)
        with pytest.raises(BusError):
            await bus.ask(subjects.opening(NORTH), b"{}", timeout=2.0)
    assert north.opened == {}
    assert place.server.accepted == 0


async def test_garbage_on_the_subjects_costs_nothing_but_itself(place: Place) -> None:
    tunnels = await place.tunnels()
    worker, beside = await place.bus("status"), await place.bus("tunnel-north")
    async with agent(beside, NORTH, place.server.port) as north, place.server.client(tunnels, NORTH) as client:
        assert await client.request("GET", "/a") == b"/a 0"
        garbage = [b"", b"x", b"\xff" * 100, Frame(FrameKind.DATA, b"12345678", 0, b"x").encoded(), b"{}" * 1000]
        for each in garbage:
            await worker.tell(subjects.upward(NORTH, north._name), each)
            await beside.tell(subjects.downward(NORTH, tunnels._name), each)
            for subject in (subjects.opening(NORTH), subjects.looking(NORTH, north._name)):
                with pytest.raises(BusError):
                    await worker.ask(subject, each, timeout=BOUND)
        assert await client.request("GET", "/b") == b"/b 0"
    assert place.server.accepted == 1


async def test_a_thousand_opens_are_refused_beyond_the_bound_and_those_within_go_on(place: Place) -> None:
    tunnels = await place.tunnels()
    async with (
        agent(await place.bus("tunnel-north"), NORTH, place.server.port, most=10) as north,
        place.server.client(tunnels, NORTH) as client,
    ):
        assert await client.request("GET", "/a") == b"/a 0"
        tried = await asyncio.gather(*(tunnels.connect(NORTH) for _ in range(1000)), return_exceptions=True)
        opened = [each for each in tried if not isinstance(each, BaseException)]
        assert len(opened) == 9
        assert {type(each) for each in tried if isinstance(each, BaseException)} == {NoAgent}
        assert len(north) == 10
        assert await client.request("GET", "/b") == b"/b 0"
        for each in opened:
            each.close()
        await until(lambda: len(north) == 1, "what was closed is given up")


async def test_who_does_not_read_keeps_a_window_waiting_and_holds_up_nobody(place: Place) -> None:
    tunnels = await place.tunnels()
    async with (
        agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north,
        place.server.client(tunnels, NORTH) as client,
        client.stream("/50000000", params={}, idle=BOUND) as lines,
    ):
        assert await client.request("GET", "/beside") == b"/beside 0"
        carried = north.traffic.sent
        for _ in range(20):
            assert await client.request("GET", "/beside") == b"/beside 0"
        assert carried < 16 << 20
        assert north.traffic.sent < 16 << 20  # sockets and windows are full: it is read no further
        del lines


async def test_an_agent_that_is_killed_breaks_what_it_carried_and_another_copy_takes_over(place: Place) -> None:
    tunnels = await place.tunnels()
    hanging = asyncio.Event()

    async def hang(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        hanging.set()
        await reader.read()

    async with agent_process(place) as (running, port), place.server.client(tunnels, NORTH) as client:
        assert await http_get(port, "/readyz") == (200, "ok\n")
        assert await client.request("GET", "/a") == b"/a 0"
        _, measured = await http_get(port, "/metrics")
        assert "moorage_tunnel_connections 1.0" in measured
        assert 'moorage_tunnel_opened_total{outcome="opened"} 1.0' in measured
        place.server._answer = hang
        asking = asyncio.create_task(client.request("GET", "/hangs"))
        await hanging.wait()
        running.child.send_signal(signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(Unreachable):
            async with asyncio.timeout(20):  # of a request that may take a minute
                await asking
        with pytest.raises(KubeError):
            await client.request("GET", "/b")
        place.server._answer = content
        async with agent(await place.bus("tunnel-north"), NORTH, place.server.port):
            assert await client.request("GET", "/c") == b"/c 0"


async def test_a_server_that_is_down_is_said_to_be_and_reached_once_it_is_back(place: Place, tmp_path: Path) -> None:
    tunnels = await place.tunnels()
    (tmp_path / "late").mkdir()
    late = TlsServer(tmp_path / "late")
    async with late.running():
        pass
    async with agent(await place.bus("tunnel-north"), NORTH, late.port), late.client(tunnels, NORTH) as client:
        with pytest.raises(Unreachable, match="it cannot reach its API server"):
            await client.request("GET", "/a")
        async with late.running():
            assert await client.request("GET", "/b") == b"/b 0"


async def test_two_copies_share_what_is_opened_and_each_keeps_what_it_has(place: Place) -> None:
    tunnels = await place.tunnels()
    async with (
        agent(await place.bus("tunnel-north"), NORTH, place.server.port) as one,
        agent(await place.bus("tunnel-north"), NORTH, place.server.port) as other,
    ):
        clients = [await place.stack.enter_async_context(place.server.client(tunnels, NORTH)) for _ in range(30)]
        for _ in range(2):
            await asyncio.gather(*(each.request("GET", "/a") for each in clients))
        assert len(one) > 0
        assert len(other) > 0
        assert len(one) + len(other) == place.server.accepted == 30


async def test_what_is_open_on_one_side_alone_is_ended(place: Place) -> None:
    """As when the last word about a stream was lost."""
    tunnels = await place.tunnels()
    async with agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north:
        sockets = [await tunnels.connect(NORTH) for _ in range(2)]
        first, second = tunnels._pipes.values()
        first.end("forgotten here", tell=False)
        north._streams[second.stream].pipe.end("forgotten there", tell=False)
        await until(lambda: not len(north) and not len(tunnels), "both are ended", within=BOUND)
        for each in sockets:
            each.close()
    await until(lambda: place.server.open == 0, "the server is left")


async def test_what_nothing_goes_through_and_workers_that_are_gone_are_given_up(place: Place) -> None:
    tunnels = await place.tunnels()
    async with agent(await place.bus("tunnel-north"), NORTH, place.server.port, idle=0.0) as north:
        with await tunnels.connect(NORTH):
            await until(lambda: not len(north), "what is idle is ended", within=BOUND)
    async with agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north:
        with await tunnels.connect(NORTH):
            north._clock = lambda: 1e12
            north.sweep()
            assert len(north) == 0


async def test_an_interrupted_connection_to_nats_breaks_what_was_under_way_and_the_next_request_is_answered(
    place: Place,
) -> None:
    tunnels = await place.tunnels()
    async with (
        agent(await place.bus("tunnel-north"), NORTH, place.server.port) as north,
        place.server.client(tunnels, NORTH) as client,
    ):
        assert await client.request("GET", "/a") == b"/a 0"
        await place.nats.server.stop()
        await place.nats.server.start()

        async def again() -> bytes | None:
            try:
                return await client.request("GET", "/b", timeout=5.0)
            except KubeError:
                return None

        assert await until(again, "it is reached again", within=BOUND) == b"/b 0"
        await until(lambda: len(north) == len(tunnels) == 1, "nothing else is left", within=BOUND)

"""NATS dies, is away, restarts, or loses what was there: what a worker makes of it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.broker.bus import BusError, Delivery
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.table import Table
from tests.contract.conftest import QUICK, Lab, elapse, new_bucket
from tests.support.ports import free_port
from tests.support.waiting import until


async def test_kill_9_of_the_broker_while_messages_flow_loses_and_doubles_nothing(
    own_lab: Lab, own_server: NatsServer
) -> None:
    lab, number = own_lab, 1500
    first = lab.consumer("first", subject=lab.subject("in"), ack_wait=2.0)
    second = lab.consumer("second", subject=lab.subject("out"), ack_wait=2.0)
    source, relay, sink = await lab.bus(first, second), await lab.bus(), await lab.bus()
    passed, arrived = Counter[bytes](), Counter[str]()

    async def pass_on(delivery: Delivery) -> None:
        passed[delivery.payload] += 1
        await relay.publish(lab.subject("out"), delivery.payload, id=f"out:{delivery.payload.decode()}")

    async def collect(delivery: Delivery) -> None:
        arrived[delivery.headers["Nats-Msg-Id"]] += 1

    await relay.consume(first, pass_on)
    await sink.consume(second, collect)

    async def publish(start: int) -> None:
        for n in range(start, number, 10):
            await source.publish(lab.subject("in"), b"%d" % n, id=f"in:{n}")

    publishing = asyncio.gather(*(publish(start) for start in range(10)))

    async def kill_after(so_many: int) -> None:
        await until(lambda: len(arrived) > so_many)
        own_server.kill()
        await own_server.ready()

    await kill_after(number // 5)
    await kill_after(number // 2)
    await publishing
    await until(lambda: len(passed) == len(arrived) == number)
    await own_server.ready()
    assert isinstance(source, NatsBus)
    stored = await source.client.api(f"STREAM.INFO.{lab.stream}", {"subjects_filter": lab.subject("out")})
    assert stored["state"]["subjects"] == {lab.subject("out"): number}


async def test_duplicates_are_known_across_a_restart_of_the_broker(own_lab: Lab, own_server: NatsServer) -> None:
    bus = await own_lab.bus()
    assert await bus.publish(own_lab.subject("a"), b"1", id="same")
    own_server.kill()
    assert await bus.publish(own_lab.subject("a"), b"1", id="same") is False


async def test_work_goes_on_after_a_dropped_connection(nats_lab: Lab) -> None:
    worker = nats_lab.consumer(concurrency=4, ack_wait=2.0)
    bus = await nats_lab.bus(worker)
    assert isinstance(bus, NatsBus)
    running, most, seen = 0, 0, Counter[bytes]()

    async def handle(delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await elapse(0.002)
        running -= 1
        seen[delivery.payload] += 1

    await bus.consume(worker, handle)
    for round_ in range(3):
        await asyncio.gather(*(bus.publish(nats_lab.subject("a"), b"%d" % n, id=str(n)) for n in range(round_ * 100)))
        await bus.client._nc.force_reconnect()
    await until(lambda: len(seen) == 200)
    assert most == 4


async def test_a_broker_that_is_down_at_start_is_waited_for_and_the_log_says_so_without_flooding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    connecting = asyncio.create_task(NatsBus.connect(f"nats://127.0.0.1:{port}", name="early"))
    await until(lambda: "waiting for NATS" in caplog.text)
    await elapse(0.8)  # some more attempts
    assert not connecting.done()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "moorage.nats"]
    assert line.startswith(f"waiting for NATS at nats://127.0.0.1:{port}: ")
    async with NatsServer(tmp_path / "nats", port=port), asyncio.timeout(5):
        bus = await connecting
        assert bus.healthy()
        await bus.close()


async def test_waiting_for_a_broker_can_be_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    connecting = asyncio.create_task(
        NatsClient.connect(f"nats://user:secret@127.0.0.1:{free_port()}", name="x", on_wait=said.append)
    )
    await until(lambda: said)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert "secret" not in said[0]


async def test_an_outage_of_the_broker_is_not_held_against_the_message(own_lab: Lab) -> None:
    worker = own_lab.consumer(max_failures=1)
    bus = await own_lab.bus(worker)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise BusError("away")

    await bus.consume(worker, handle)
    await bus.publish(own_lab.subject("a"), b"", id="1")
    await until(lambda: len(attempts) == 2)
    assert await own_lab.dead(bus) == []


async def test_a_broker_that_stays_away_is_an_error_in_the_end(own_server: NatsServer) -> None:
    client = await NatsClient.connect(own_server.url, name="x")
    await own_server.stop()
    with pytest.raises(BusError, match=r"for 0\.3 s"):
        await client.request("$JS.API.INFO", deadline=0.3)
    assert not client.connected
    await client.close()


async def test_a_consumer_that_is_provisioned_later_is_waited_for(nats_lab: Lab) -> None:
    worker = nats_lab.consumer()
    bus = await nats_lab.bus()
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)

    consumption = await bus.consume(worker, handle)
    await bus.publish(nats_lab.subject("a"), b"1", id="1")
    await elapse(0.2)
    await bus.provision((), (worker,))
    await until(lambda: seen)
    assert await consumption.drain(1.0)


async def test_a_consumer_that_is_deleted_and_made_again_is_found_again(nats_lab: Lab) -> None:
    worker = nats_lab.consumer()
    bus = await nats_lab.bus(worker)
    assert isinstance(bus, NatsBus)
    seen: Counter[bytes] = Counter()

    async def handle(delivery: Delivery) -> None:
        seen[delivery.payload] += 1

    await bus.consume(worker, handle)
    await bus.client.api(f"CONSUMER.DELETE.{worker.stream}.{worker.name}")
    await bus.publish(nats_lab.subject("a"), b"1", id="1")
    await bus.provision((), (worker,))
    await until(lambda: seen)


async def test_a_view_survives_kill_9_of_the_broker(own_server: NatsServer) -> None:
    client = await NatsClient.connect(own_server.url, name="x")
    store, bucket = NatsStore(client, pull=QUICK), new_bucket()
    await store.provision((bucket,))
    table = Table(store, bucket)
    await table.put("stays", {"n": 1})
    view = table.follow()
    running = asyncio.create_task(view.run())
    await asyncio.wait_for(view.synced.wait(), 5)
    for number in range(3):
        own_server.kill()
        revision = await table.put(f"k.{number}", {"n": number})
        assert await view.reached(revision, 10.0)
    assert set(view.entries) == {"stays", "k.0", "k.1", "k.2"}
    deleted = await table.delete("k.0")
    assert await view.reached(deleted, 10.0)
    running.cancel()
    await client.close()


async def test_a_view_survives_that_its_bucket_is_deleted_and_made_again(own_server: NatsServer) -> None:
    client = await NatsClient.connect(own_server.url, name="x")
    store, bucket = NatsStore(client, pull=QUICK), new_bucket()
    await store.provision((bucket,))
    table = Table(store, bucket)
    await table.put("a", {"n": 1})
    before = await table.put("b", {"n": 1})
    view = table.follow()
    running = asyncio.create_task(view.run())
    assert await view.reached(before, 10.0)
    await client.api(f"STREAM.DELETE.KV_moorage-{bucket.name}")
    await elapse(0.3)
    await store.provision((bucket,))
    revision = await table.put("b", {"n": 2})
    assert revision > before
    await until(lambda: {key: entry.value for key, entry in view.entries.items()} == {"b": {"n": 2}})
    running.cancel()
    await client.close()


class Relay:
    """Stands between clients and a server, and can keep what the server answers to itself."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self.deaf = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Its URL."""
        listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        listener.close()
        self.cut()
        await listener.wait_closed()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._server.url.rpartition("//")[2].rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        both = {writer, back}
        self._writers |= both
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer, answers=True))
        self._writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()


async def test_a_write_that_is_sent_again_after_a_lost_answer_is_no_conflict_with_itself(
    nats_server: NatsServer,
) -> None:
    relay = Relay(nats_server)
    bucket = new_bucket()
    witness = await NatsClient.connect(nats_server.url, name="witness")
    await NatsStore(witness).provision((bucket,))
    seen = Table(NatsStore(witness), bucket)
    async with relay.open() as url:
        client = await NatsClient.connect(url, name="x")
        table = Table(NatsStore(client, pull=QUICK), bucket)
        relay.deaf = True
        writes = [asyncio.create_task(table.update(f"k.{n}", {"n": n}, 0)) for n in range(200)]
        await until(lambda: seen.entries("k"), holds=lambda found: len(found) == len(writes))
        assert not any(write.done() for write in writes)
        relay.deaf = False
        relay.cut()
        revisions = await asyncio.gather(*writes)
        assert client.resends >= len(writes)
        assert sorted(revisions) == sorted(entry.revision for entry in await seen.entries("k"))
        await client.close()
    await witness.close()


async def test_an_answer_that_comes_after_whoever_flushed_gave_up_does_not_end_the_reading(
    nats_server: NatsServer,
) -> None:
    """On a busy machine it did: the connection was deaf for half a minute."""
    client = await NatsClient.connect(nats_server.url, name="x")
    with pytest.raises(BusError, match="does not answer"):
        await client.flush(timeout=0)
    assert "memory" in await client.api("INFO")
    assert client.resends == 0
    await client.close()


async def test_a_connection_whose_reading_fails_is_made_anew(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await NatsClient.connect(nats_server.url, name="x")

    async def fail(_: bytes) -> None:
        monkeypatch.undo()
        raise RuntimeError("a bug")

    monkeypatch.setattr(client._nc._ps, "parse", fail)
    assert "memory" in await client.api("INFO")
    await client.close()


async def test_closing_for_good_is_said_and_shows_as_ill_health(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await NatsClient.connect(nats_server.url, name="x")
    bus = NatsBus(client)
    await client._nc._process_err("'User Authentication Revoked'")
    await until(lambda: not bus.healthy())
    with pytest.raises(BusError, match="closed"):
        await bus.publish("moorage.x", b"", id="1")
    await until(lambda: "closed the connection for good" in caplog.text)
    await bus.close()

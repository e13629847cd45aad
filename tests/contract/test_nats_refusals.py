"""NATS refuses: credentials, certificates, permissions, an old version, messages that are none."""

import asyncio
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.broker.bus import BusError, Delivery, Forbidden, Reject
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import LoginRefused, NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.server import NatsServer
from shared.broker.nats.streams import ADVISORIES
from tests.contract.conftest import Lab, elapse
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (NatsOptions(token="wrong-secret"), "nats://127.0.0.1:{port}"),
        (NatsOptions(), "nats://127.0.0.1:{port}"),
        (NatsOptions(user="u", password="wrong-secret"), "nats://127.0.0.1:{port}"),
        (NatsOptions(), "nats://wrong-secret@127.0.0.1:{port}"),
    ],
)
async def test_wrong_credentials_are_one_clear_error_at_once(tmp_path: Path, options: NatsOptions, url: str) -> None:
    async with NatsServer(tmp_path, config={"authorization": {"token": "right"}}) as server:
        port = server.url.rpartition(":")[2]
        async with asyncio.timeout(2):
            with pytest.raises(LoginRefused, match=r"refused the connection: .*Authorization Violation") as refused:
                await NatsBus.connect(url.format(port=port), name="x", options=options)
        assert "wrong-secret" not in str(refused.value)
        bus = await NatsBus.connect(server.url, name="x", options=NatsOptions(token="right"))
        assert bus.healthy()
        await bus.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl, which is not here")
    place = tmp_path_factory.mktemp("tls")
    paths = str(place / "certificate.pem"), str(place / "key.pem")
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", "-x509", *ec, "-days", "2", *subject, "-out", paths[0], "-keyout", paths[1]]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return paths


@pytest.mark.parametrize("handshake_first", [False, True])
async def test_tls_with_certificates_on_both_sides(
    tmp_path: Path, certificate: tuple[str, str], handshake_first: bool
) -> None:
    cert, key = certificate
    tls = {"cert_file": cert, "key_file": key, "ca_file": cert, "verify": True, "handshake_first": handshake_first}
    known = NatsOptions(
        tls_ca_file=cert, tls_certificate_file=cert, tls_key_file=key, tls_handshake_first=handshake_first
    )
    stranger = NatsOptions(tls_handshake_first=handshake_first)
    async with NatsServer(tmp_path / "nats", config={"tls": tls}) as server, asyncio.timeout(10):
        bus = await NatsBus.connect(server.url, name="x", options=known)
        assert bus.healthy()
        await bus.close()
        with pytest.raises(LoginRefused, match="certificate verify failed"):
            await NatsBus.connect(server.url, name="x", options=stranger)


async def test_options_that_name_missing_files_are_one_clear_error(nats_server: NatsServer) -> None:
    names = ("credentials_file", "nkey_seed_file", "tls_ca_file", "tls_certificate_file", "tls_key_file")
    for options in (NatsOptions(**{name: "missing.file"}) for name in names):
        async with asyncio.timeout(5):
            with pytest.raises(LoginRefused, match=r"NATS options: .*missing\.file"):
                await NatsBus.connect(nats_server.url, name="x", options=options)


@pytest.mark.parametrize("url", ["", "nats://", "nats://127.0.0.1:port", "wss://127.0.0.1:443"])
async def test_a_url_that_cannot_be_used_is_one_clear_error(url: str) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(LoginRefused, match="NATS"):
            await NatsClient.connect(url, name="x")


async def test_a_server_that_is_too_old_is_refused() -> None:
    info = {"server_id": "X", "version": "2.9.10", "headers": True, "max_payload": 1048576, "port": 4222}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LoginRefused, match=r"2\.9\.10.* is too old: Moorage needs NATS 2\.12 or newer"):
            await NatsBus.connect(f"nats://127.0.0.1:{port}", name="x")


async def test_what_permissions_deny_is_forbidden_at_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    inbox = "_INBOX_worker"
    worker = {
        "user": "worker",
        "password": "w",
        "permissions": {"publish": ["moorage.allowed"], "subscribe": f"{inbox}.>"},
    }
    config = {"authorization": {"users": [{"user": "admin", "password": "a"}, worker]}}
    async with NatsServer(tmp_path, config=config) as server:
        admin = NatsOptions(user="admin", password="a")
        lab = Lab(functools.partial(NatsBus.connect, server.url, name="admin", options=admin))
        denied = lab.consumer(subject="moorage.allowed")
        await lab.bus(denied, subjects=("moorage.allowed", "moorage.secret"))
        options = NatsOptions(user="worker", password="w", inbox_prefix=inbox)
        bus = await NatsBus.connect(server.url, name="w", options=options)
        async with asyncio.timeout(2):
            with pytest.raises(Forbidden, match=r'publish to "moorage\.secret"'):
                await bus.publish("moorage.secret", b"", id="1")
            assert await bus.publish("moorage.allowed", b"", id="1")
            with pytest.raises(Forbidden, match=r"msg\.next"):
                await bus.consume(denied, lambda delivery: elapse(0))
        await bus.close()
        elsewhere = await NatsClient.connect(server.url, name="w", options=NatsOptions(user="worker", password="w"))
        async with asyncio.timeout(2):
            with pytest.raises(Forbidden, match="subscription"):
                await elsewhere.request("moorage.allowed")
        await elsewhere.close()
        await lab.close()


GARBAGE = {
    "subject that is no UTF-8": b"PUB %s.\xff\xfe 7\r\ngarbage\r\n",
    "control character in the subject": b"PUB %s.\x01\x0b 7\r\ngarbage\r\n",
    "very long subject": b"PUB %s." + b"x" * 3000 + b" 7\r\ngarbage\r\n",
    "header that looks like the broker's": b"HPUB %s.a 25 32\r\nNATS/1.0\r\nStatus: 409\r\n\r\ngarbage\r\n",
    "empty, with such a header": b"HPUB %s.a 25 25\r\nNATS/1.0\r\nStatus: 409\r\n\r\n\r\n",
    "header that is no UTF-8": b"HPUB %s.a 20 27\r\nNATS/1.0\r\nx: \xff\xfe\xfd\r\n\r\ngarbage\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_of_a_stranger_is_parked_and_the_worker_lives(own_lab: Lab, garbage: bytes) -> None:
    worker = own_lab.consumer()
    bus = await own_lab.bus(worker)
    assert isinstance(bus, NatsBus)
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)
        if delivery.payload != b"fine":
            raise Reject("garbage")

    await bus.consume(worker, handle)
    _, writer = await asyncio.open_connection("127.0.0.1", bus.client._nc.connected_url.port)  # type: ignore[union-attr]
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + garbage % own_lab.subject().rstrip(".").encode())
    await writer.drain()
    await until(lambda: seen)
    writer.close()
    await bus.publish(own_lab.subject("fine"), b"fine", id="fine")
    await until(lambda: b"fine" in seen)
    async with asyncio.timeout(5):
        while not (letters := [letter async for letter in bus.dead_letters()]):
            await elapse(0.01)
    assert [letter.cause for letter in letters] == ["garbage"]
    assert len(seen) == 2


async def test_a_message_that_its_taker_stumbles_over_is_logged_and_the_next_ones_come(
    nats_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def take(message: Any) -> None:
        heard.append(message.data)
        if message.data == b"bad":
            raise ValueError("no such thing")

    bus = await nats_lab.bus()
    assert isinstance(bus, NatsBus)
    subscription = await bus.client.subscribe(f"_INBOX.{nats_lab.token}", take)
    for data in (b"good", b"bad", b"late"):
        await bus.client.send(f"_INBOX.{nats_lab.token}", data)
    await until(lambda: heard == [b"good", b"bad", b"late"])
    assert "a message was not taken" in caplog.text
    await subscription.unsubscribe()
    await bus.client.send(f"_INBOX.{nats_lab.token}", b"too late")
    await bus.client.flush()
    assert heard == [b"good", b"bad", b"late"]


async def test_a_subject_that_no_stream_takes_is_an_error_in_the_end(nats_server: NatsServer) -> None:
    client = await NatsClient.connect(nats_server.url, name="x")
    with pytest.raises(BusError, match="nobody answers there"):
        await client.request("nowhere", deadline=0.3)
    await client.close()


async def test_a_message_that_the_broker_cannot_hold_is_refused_before_it_costs_the_connection(nats_lab: Lab) -> None:
    bus = await nats_lab.bus()
    with pytest.raises(ValueError, match="2000000 bytes"):
        await bus.publish(nats_lab.subject("a"), b"x" * 2_000_000, id="1")
    assert await bus.publish(nats_lab.subject("a"), b"x", id="1")


async def test_the_broker_records_what_was_terminated(own_lab: Lab) -> None:
    worker = own_lab.consumer()
    bus = await own_lab.bus(worker)
    assert isinstance(bus, NatsBus)

    async def handle(_delivery: Delivery) -> None:
        raise Reject("never")

    await bus.consume(worker, handle)
    await bus.publish(own_lab.subject("a"), b"", id="1")
    await own_lab.parked(bus)

    async def advisory() -> Any:
        info = await bus.client.api(f"STREAM.INFO.{ADVISORIES.name}")
        return info["state"]["messages"]

    async with asyncio.timeout(5):
        while not await advisory():
            await elapse(0.01)


def test_secrets_do_not_show() -> None:
    options = NatsOptions(token="t0p", user="me", password="s3cret", tls_ca_file="ca.pem")
    assert repr(options) == (
        "NatsOptions(token=***, user='me', password=***, tls_ca_file='ca.pem', tls_handshake_first=False, "
        "inbox_prefix='_INBOX', api_prefix='$JS.API')"
    )
    assert str(options) == repr(options)

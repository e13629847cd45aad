"""Clients that mean no good, over real sockets: each gets a Status or is hung up on, and others notice nothing."""

import asyncio
import contextlib
import json

import psutil
import pytest

from services.sandbox.sandbox import Sandbox
from services.sandbox.wire import connection
from services.sandbox.wire.server import listen, serving

CONFIGS = "/clusters/root/api/v1/namespaces/default/configmaps"
MEGABYTE = 1024 * 1024


@pytest.fixture
async def there():
    """The port and an administrator's token."""
    with listen("127.0.0.1", 0) as sock:
        sandbox = Sandbox()
        token = sandbox.add_user("admin", ("system:masters",))
        async with serving(sandbox, sock):
            yield sock.getsockname()[1], token


async def exchange(there, method, path, *, token=None, length=0, body=b"", headers=""):
    """The status and body of an answer; `length` is what is announced, whatever `body` then is."""
    port, known = there
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token or known}\r\n{headers}"
    writer.write(f"{head}Content-Length: {length or len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    try:
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


async def hung_up(reader):
    """Whether the server ended the connection, whatever it said before."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return True


async def is_hung_up_on(port, head, parts):
    """Who sends all of these after the head is hung up on, before they are in memory."""
    before = psutil.Process().memory_info().rss
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    assert await hung_up(reader)
    writer.close()
    assert psutil.Process().memory_info().rss - before < 40 * MEGABYTE


async def test_a_huge_body_is_refused_before_it_is_sent(there):
    code, body = await exchange(there, "POST", CONFIGS, length=100 * MEGABYTE)
    assert (code, json.loads(body)["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_huge_body_without_a_length_takes_no_memory(there):
    port, token = there
    head = f"POST {CONFIGS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    await is_hung_up_on(port, head + chunked, (b"100000\r\n" + b"x" * MEGABYTE + b"\r\n" for _ in range(100)))


async def test_endless_trailers_end_the_connection_and_take_no_memory(there):
    port, _ = there
    head = b"GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    await is_hung_up_on(port, head, (b"a%d: " % number + b"x" * MEGABYTE + b"\r\n" for number in range(100)))


async def test_trailers_do_not_say_who_asks(there):
    port, token = there
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {CONFIGS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode())
    writer.write(f"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert b" 401 " in (await reader.read()).partition(b"\r\n")[0]
    writer.close()


async def test_the_body_of_a_request_for_another_protocol_is_not_taken_for_the_next_request(there):
    port, token = there
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    inner = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST {CONFIGS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    head += "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    writer.write(f"{head}Content-Length: {len(inner)}\r\n\r\n".encode())
    await writer.drain()
    with contextlib.suppress(ConnectionError):
        writer.write(inner)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_strangers_body_is_not_read(there):
    code, body = await exchange(there, "POST", CONFIGS, token="forged", length=MEGABYTE)
    assert (code, json.loads(body)["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_does_not_come_ends_the_connection(there, monkeypatch, sent):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    port, _ = there
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent.encode())
    assert await hung_up(reader)
    writer.close()


async def test_a_body_that_does_not_come_is_a_timeout(there, monkeypatch):
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.2)
    code, body = await exchange(there, "POST", CONFIGS, length=100, body=b"{")
    assert (code, json.loads(body)["reason"]) == (408, "Timeout")


async def test_an_endless_head_ends_the_connection(there):
    port, _ = there
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n" + (b"X-More: " + b"x" * 1000 + b"\r\n") * 1000)
    assert await hung_up(reader)
    writer.close()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/clusters/../../etc/passwd", 403),
        ("/clusters/root/api/v1/namespaces/../../../../etc/passwd", 404),
        ("/clusters/root/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets", 404),
        ("/clusters/root/api/v1/namespaces/default/configmaps/%2e%2e", 404),
        (f"{CONFIGS}?labelSelector=" + "a%3Db%2C" * 5000, 400),
        (f"{CONFIGS}?labelSelector=%28%28%28", 400),
        (f"{CONFIGS}?fieldSelector=%3D%3D", 400),
        (f"{CONFIGS}?limit=-1", 400),
        (f"{CONFIGS}?limit={'9' * 100}", 400),
        (f"{CONFIGS}?continue=%00%ff", 400),
        (f"{CONFIGS}?resourceVersion=abc&watch=1", 400),
        ("/clusters/%2a/api/v1/configmaps", 403),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_status(there, path, code):
    status, body = await exchange(there, "GET", path)
    assert (status, json.loads(body)["code"]) == (code, code)


async def test_others_are_served_while_clients_dawdle(there):
    port, token = there
    slow = []
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {CONFIGS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode())
        writer.write(b"Content-Length: 1000000\r\n\r\n{")
        slow.append(writer)
    async with asyncio.timeout(10):
        for number in range(20):
            body = json.dumps({"metadata": {"name": f"a{number}"}}).encode()
            assert (await exchange(there, "POST", CONFIGS, body=body))[0] == 201
    for writer in slow:
        writer.close()

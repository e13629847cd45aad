"""The sandbox over real sockets: HTTP, TLS, streams, limits, and the process itself."""

import asyncio
import io
import json
import os
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest

from services.sandbox.run import serve
from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.connection import MOST_WAITING, PIECE
from services.sandbox.wire.http import BODY_LIMIT
from services.sandbox.wire.server import listen, serving
from services.sandbox.world.world import DEFAULT, World

CONFIGS = "/clusters/root/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def client():
    """A session at a sandbox without TLS, as administrator."""
    with listen("127.0.0.1", 0) as sock:
        sandbox = Sandbox()
        token = sandbox.add_user("admin", ("system:masters",))
        async with (
            serving(sandbox, sock),
            aiohttp.ClientSession(
                f"http://127.0.0.1:{sock.getsockname()[1]}", headers={"Authorization": f"Bearer {token}"}
            ) as session,
        ):
            yield session


async def test_objects_go_in_and_come_out(client):
    async with client.post(CONFIGS, json={"metadata": {"name": "one"}}) as response:
        assert response.status == 201
    async with client.get(f"{CONFIGS}?labelSelector=%21app&limit=5") as response:
        assert [item["metadata"]["name"] for item in (await response.json())["items"]] == ["one"]


async def test_a_watch_sends_its_headers_before_the_first_event_and_then_each_event(client):
    async with client.get(CONFIGS) as response:
        version = (await response.json())["metadata"]["resourceVersion"]
    async with asyncio.timeout(10), client.get(f"{CONFIGS}?watch=1&resourceVersion={version}") as stream:
        assert stream.status == 200
        async with client.post(CONFIGS, json={"metadata": {"name": "one"}}):
            event = json.loads(await stream.content.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")


async def test_head_and_body_of_an_answer_come_together(client):
    url = client._base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read(PIECE)).endswith(b"\r\n\r\nok")
    writer.close()
    await writer.wait_closed()


async def said(client, sent: bytes) -> bytes:
    """All that is answered to what is sent on one connection."""
    reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port)
    try:
        async with asyncio.timeout(10):
            writer.write(sent)
            return await reader.read()
    finally:
        writer.close()


async def test_requests_that_come_before_the_last_answer_are_answered_in_their_order(client):
    names = [f"one-{number}" for number in range(3 * MOST_WAITING)]
    head = f"Host: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
    asked = "".join(f"GET {CONFIGS}/{name} HTTP/1.1\r\n{head}\r\n" for name in names)
    answer = await said(client, f"{asked}GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    said_of = [part.partition(b'configmaps \\"')[2] for part in answer.split(b"HTTP/1.1 404")[1:]]
    assert ([each.partition(b'\\"')[0].decode() for each in said_of], answer[-2:]) == (names, b"ok")


async def test_what_follows_the_last_request_of_a_connection_is_not_looked_at(client):
    asked = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await said(client, asked * 3)).count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close" in await said(client, b"GET /readyz HTTP/1.0\r\n\r\n")


async def test_what_is_not_http_is_refused_and_ends_the_connection(client):
    assert (await said(client, b"HELO there\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_head_alone_is_answered_where_only_that_is_asked_for(client):
    answer = await said(client, b"HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 2" in answer


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(client):
    body = b'{"metadata": {"name": "late"}}'
    head = f"POST {CONFIGS} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
    reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port)
    writer.write(f"{head}Connection: close\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 201 Created")
    writer.close()


async def test_an_event_larger_than_a_piece_of_a_stream_arrives_whole(client):
    text = "x" * (3 * PIECE)
    async with client.post(CONFIGS, json={"metadata": {"name": "big"}, "data": {"text": text}}):
        pass
    async with asyncio.timeout(10), client.get(f"{CONFIGS}?watch=1") as stream:
        assert json.loads(await stream.content.readline())["object"]["data"]["text"] == text


async def test_a_host_that_no_certificate_can_name_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"no certificate could be made for a\.\.b"):
        async with serve(World(), "127.0.0.1", 0, tmp_path, advertise="a..b"):
            pass


async def test_a_body_over_the_limit_is_refused(client):
    async with client.post(CONFIGS, data=io.BytesIO(b"x" * (BODY_LIMIT + 1))) as response:
        assert response.status == 413
        assert (await response.json())["reason"] == "RequestEntityTooLarge"


async def test_half_a_body_is_no_request(client):
    url = client._base_url
    head = f"POST {CONFIGS} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{head}Content-Length: 100\r\n\r\n".encode() + b'{"metadata": {"name": "half"}}')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with client.get(f"{CONFIGS}/half") as response:
        assert response.status == 404
    assert reader.at_eof() or not await reader.read()


async def test_a_client_that_leaves_ends_its_watch(client):
    async def watches() -> int:
        async with client.get("/sandbox") as response:
            return int((await response.json())["watches"])

    async with asyncio.timeout(10):
        async with client.get(f"{CONFIGS}?watch=1"):
            while not await watches():
                pass
        while await watches():
            pass


async def test_a_world_is_served_by_tls_and_its_kubeconfigs_trust_it(tmp_path):
    async with serve(World(workspaces=["root:a"]), "127.0.0.1", 0, tmp_path) as ready:
        trust = ssl.create_default_context(cafile=str(tmp_path / "sandbox.crt"))
        async with aiohttp.ClientSession() as session, session.get(f"{ready.url}/readyz", ssl=trust) as response:
            assert await response.text() == "ok"
    assert ready.url.startswith("https://127.0.0.1:")
    assert set(ready.kubeconfigs) == {"admin", "intake"}


async def test_stopping_ends_open_watches_in_time(tmp_path):
    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(10), serve(DEFAULT, "127.0.0.1", 0, tmp_path, tls=False) as ready:
            token = ready.sandbox.add_user("x", ("system:masters",))
            headers = {"Authorization": f"Bearer {token}"}
            stream = await session.get(f"{ready.url}{CONFIGS}?watch=1&resourceVersion=0", headers=headers)
        assert await stream.content.read() == b""


async def start(*options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "services.sandbox", "--port", "0", *options)
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env={**os.environ})


async def test_the_process_says_where_it_is_and_ends_on_sigterm(tmp_path: Path):
    async with asyncio.timeout(30):
        process = await start("--data", str(tmp_path))
        assert process.stdout is not None
        said = json.loads(await process.stdout.readline())
        assert said["message"] == "sandbox ready"
        assert said["kubeconfigs"]["admin"] == str(tmp_path / "admin.kubeconfig")
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert b"for development" in errors


@pytest.mark.parametrize("problem", ["port", "world", "missing"])
async def test_the_process_gives_one_clear_line_for_what_it_cannot_do(tmp_path, problem):
    world = tmp_path / "world.yaml"
    world.write_text("workspaces: 3")
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        options = {
            "port": ["--port", str(taken.getsockname()[1])],
            "world": ["--world", str(world)],
            "missing": ["--world", str(tmp_path / "none")],
        }[problem]
        async with asyncio.timeout(30):
            process = await start("--data", str(tmp_path), *options)
            output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    (line,) = [line for line in errors.decode().splitlines() if "for development" not in line]
    assert line.startswith("sandbox: ")

"""Connections to servers that answer byte for byte what a test says."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import TooLarge, Unreachable
from shared.kube.http.dial import Dialer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that plays one script per connection, the last one again and again, and counts what comes."""

    def __init__(self) -> None:
        self.scripts: list[Serve] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.url = ""

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        return self.heads[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()

    def says(self, *answers: bytes) -> Serve:
        """One answer for each request; then the connection ends."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in answers:
                await self.head(reader)
                writer.write(answer)
            await writer.drain()

        return play

    def always(self, answer: bytes) -> Serve:
        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await self.head(reader)
                writer.write(answer)

        return play


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield peer


@pytest.fixture
async def client(peer: Peer) -> AsyncIterator[Client]:
    async with Client(Credentials(server=peer.url, token="s3cret"), timeout=3) as client, asyncio.timeout(20):
        yield client


async def test_requests_one_after_another_share_a_connection(peer, client):
    peer.scripts = [peer.always(OK)]
    assert [await client.request("GET", "/a") for _ in range(3)] == [b"ok"] * 3
    assert peer.connections == 1


async def test_an_answer_in_pieces_is_put_together(peer, client):
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        for byte in (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        ):
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    peer.scripts = [play]
    assert await client.request("GET", "/a") == b"ok"


async def test_a_connection_that_the_server_gave_up_is_replaced_where_that_does_no_harm(peer, client):
    peer.scripts = [peer.says(OK), peer.says(OK), peer.says(OK)]
    for method in ("GET", "PUT", "DELETE"):
        peer.closed.clear()
        assert await client.request(method, "/a") == b"ok"
        await peer.closed.wait()
    assert peer.connections == 3


async def test_what_would_do_more_a_second_time_is_not_asked_again(peer, client):
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.says(OK)(reader, writer)
        await peer.head(reader)

    peer.scripts = [deaf, peer.always(OK)]
    await client.request("GET", "/a")
    with pytest.raises(Unreachable, match="closed the connection without an answer"):
        await client.request("POST", "/a", body=b"{}")
    assert [head.split()[0] for head in peer.heads] == [b"GET", b"POST"]


async def test_who_is_cancelled_leaves_no_answer_to_the_next(peer, client):
    asked = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        asked.set()
        await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    peer.scripts = [slow, peer.always(OK)]
    first = asyncio.create_task(client.request("GET", "/slow"))
    await asked.wait()
    first.cancel()
    assert await client.request("GET", "/a") == b"ok"
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_an_answer_that_nobody_asked_for_is_given_to_nobody(peer, client):
    peer.scripts = [peer.says(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), peer.always(OK)]
    assert [await client.request("GET", "/a") for _ in range(2)] == [b"ok"] * 2
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "broke off its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "broke off its answer"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (80 << 10), "does not answer in HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok", "encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", "broke off its answer"),
    ],
)
async def test_what_is_no_whole_answer_is_unreachable(peer, client, answer, why):
    peer.scripts = [peer.says(answer)]
    with pytest.raises(Unreachable, match=why):
        await client.request("GET", "/a")


async def test_the_end_of_the_connection_ends_a_body_of_no_given_length(peer, client):
    peer.scripts = [peer.says(b"HTTP/1.1 200 OK\r\n\r\nok")]
    assert await client.request("GET", "/a") == b"ok"


async def test_compressed_bodies_are_taken_within_their_bound(peer, client):
    packed = gzip.compress(b"x" * (4 << 20))
    peer.scripts = [
        peer.always(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
    ]
    assert len(await client.request("GET", "/a")) == 4 << 20
    with pytest.raises(TooLarge, match="over 1048576 bytes"):
        await client.request("GET", "/a", most=1 << 20)


async def test_a_header_cannot_be_smuggled_in(peer, client):
    peer.scripts = [peer.always(OK)]
    for wrong in ("/a HTTP/1.1\r\nX: y", "/a\nb", "/a b"):
        with pytest.raises(Unreachable, match="cannot be asked"):
            await client.request("GET", wrong)
    async with Client(Credentials(server=peer.url, token="t\r\nX-Remote-User: root")) as other:
        with pytest.raises(Unreachable, match="cannot be asked") as caught:
            await other.request("GET", "/a")
    assert "root" not in str(caught.value)
    assert peer.heads == []


async def test_closing_a_client_ends_what_is_under_way(peer, client):
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        asked.set()
        await reader.read()

    peer.scripts = [hang]
    waiting = asyncio.create_task(client.request("GET", "/a"))
    await asked.wait()
    await client.close()
    with pytest.raises(Unreachable):
        await waiting
    await peer.closed.wait()


async def test_a_stream_that_nobody_reads_makes_its_server_wait(peer, client):
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await peer.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            writer.write(b"x" * (1 << 20) + b"\n")
            await writer.drain()
            sent += 1

    peer.scripts = [flood]
    async with client.stream("/a", params={"watch": True}, idle=5) as lines:
        assert len(await anext(lines)) == 1 << 20
        assert sent < 64
        assert [len(line) async for line in lines] == [1 << 20] * 63


async def test_a_stream_takes_the_connection_that_waits(peer, client):
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.says(OK, b"HTTP/1.1 200 OK\r\n\r\nline\n")(reader, writer)

    peer.scripts = [play]
    assert await client.request("GET", "/a") == b"ok"
    async with client.stream("/a", params={"watch": True}, idle=5) as lines:
        assert [line async for line in lines] == [b"line"]
    assert peer.connections == 1


async def test_a_stream_on_a_connection_that_the_server_gave_up_begins_on_another(peer, client):
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.says(OK)(reader, writer)
        await peer.head(reader)

    peer.scripts = [deaf, peer.says(b"HTTP/1.1 200 OK\r\n\r\nline\n")]
    assert await client.request("GET", "/a") == b"ok"
    async with client.stream("/a", params={"watch": True}, idle=5) as lines:
        assert [line async for line in lines] == [b"line"]
    assert peer.connections == 2


async def test_a_proxy_that_refuses_is_said(peer):
    peer.scripts = [peer.says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")]
    who = Credentials(server="https://api.invalid", proxy=peer.url.replace("//", "//me:word@"), insecure=True)
    async with Client(who, timeout=3) as client:
        with pytest.raises(Unreachable, match=r"api\.invalid:443: the proxy answered 407"):
            await client.request("GET", "/a")
    assert peer.heads[0].startswith(b"CONNECT api.invalid:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6d29yZA==\r\n" in peer.heads[0]


async def test_of_the_connections_that_wait_one_is_kept(peer, client, monkeypatch):
    both = asyncio.Barrier(2)

    async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        await both.wait()
        writer.write(OK)
        await peer.always(OK)(reader, writer)

    monkeypatch.setattr("shared.kube.http.pool.SPARE", 0.01)
    peer.scripts = [together]
    assert await asyncio.gather(client.request("GET", "/a"), client.request("GET", "/a")) == [b"ok"] * 2
    await peer.closed.wait()
    assert await client.request("GET", "/a") == b"ok"
    assert peer.connections == 2


async def test_requests_at_once_share_what_comes_back_while_another_connection_is_opened(peer, client, monkeypatch):
    dial, opened, second, two = Dialer.dial, [], asyncio.Event(), asyncio.Event()

    async def slowly(self, *to):
        opened.append(to)
        if len(opened) == 2:
            two.set()
            await second.wait()
        return await dial(self, *to)

    async def not_before_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        await two.wait()
        writer.write(OK)
        await peer.always(OK)(reader, writer)

    monkeypatch.setattr(Dialer, "dial", slowly)
    peer.scripts = [not_before_two, peer.always(OK)]
    asked = [asyncio.create_task(client.request("GET", "/a")) for _ in range(20)]
    while sum(each.done() for each in asked) < 19:
        await asyncio.wait([each for each in asked if not each.done()], return_when=asyncio.FIRST_COMPLETED)
    second.set()
    assert await asyncio.gather(*asked) == [b"ok"] * 20
    assert len(opened) == peer.connections == 2


async def test_no_other_connection_is_opened_where_one_comes_back_soon(peer, client, monkeypatch):
    monkeypatch.setattr("shared.kube.http.pool.PATIENCE", 3)
    peer.scripts = [peer.always(OK)]
    assert await asyncio.gather(*(client.request("GET", "/a") for _ in range(20))) == [b"ok"] * 20
    assert peer.connections == 1


async def test_what_waits_for_a_connection_fails_with_it_and_is_not_tried_one_by_one(client, monkeypatch):
    tried = []

    async def refused(self, *to):
        tried.append(to)
        await asyncio.sleep(0)
        raise Unreachable("no way")

    monkeypatch.setattr(Dialer, "dial", refused)
    asked = await asyncio.gather(*(client.request("GET", "/a") for _ in range(20)), return_exceptions=True)
    assert [str(each) for each in asked] == ["no way"] * 20
    assert len(tried) == 1


async def test_whoever_is_cancelled_while_a_connection_is_opened_keeps_nobody_waiting(peer, client, monkeypatch):
    dial, opening, opened = Dialer.dial, asyncio.Event(), []

    async def stuck(self, *to):
        opened.append(to)
        if len(opened) == 1:
            opening.set()
            await asyncio.Event().wait()
        return await dial(self, *to)

    monkeypatch.setattr(Dialer, "dial", stuck)
    peer.scripts = [peer.always(OK)]
    asked = [asyncio.create_task(client.request("GET", "/a")) for _ in range(4)]
    await opening.wait()
    asked[1].cancel()
    asked[0].cancel()
    assert await asyncio.gather(*asked[2:]) == [b"ok"] * 2


async def test_a_proof_that_fails_fails_all_who_waited_for_it_and_is_asked_for_anew_by_the_next(peer):
    peer.scripts = [peer.always(OK)]
    proofs = 0

    async def proof() -> None:
        nonlocal proofs
        proofs += 1
        await asyncio.sleep(0.01)
        if proofs == 1:
            raise Unreachable("it does not answer")

    async with Client(Credentials(server=peer.url), proof=proof) as client:
        asked = await asyncio.gather(*(client.request("GET", "/a") for _ in range(5)), return_exceptions=True)
        assert ([type(each) for each in asked], proofs) == ([Unreachable] * 5, 1)
        assert await asyncio.gather(*(client.request("GET", "/a") for _ in range(5))) == [b"ok"] * 5
        assert proofs == 2


async def test_a_client_of_one_connection_asks_one_thing_at_a_time(peer):
    peer.scripts = [peer.always(OK)]
    async with Client(Credentials(server=peer.url), connections=1) as client:
        assert await asyncio.gather(*(client.request("GET", "/a") for _ in range(5))) == [b"ok"] * 5
    assert peer.connections == 1


async def test_an_address_that_does_not_answer_is_not_waited_for(peer, unused_tcp_port, monkeypatch):
    port = int(peer.url.rpartition(":")[2])
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", each)) for each in (unused_tcp_port, port)]
    found = asyncio.get_running_loop().create_future()
    found.set_result(infos)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lambda *_, **__: found)
    peer.scripts = [peer.always(OK)]
    async with Client(Credentials(server=f"http://both.invalid:{port}"), timeout=3) as client:
        assert await client.request("GET", "/a") == b"ok"


async def test_who_waits_for_a_connection_gets_one_however_quickly_others_ask_again(peer, client):
    peer.scripts = [peer.always(OK)]

    async def again_and_again() -> None:
        while True:
            await client.request("GET", "/often")

    busy = asyncio.create_task(again_and_again())
    await asyncio.sleep(0)
    async with asyncio.timeout(3):
        assert await client.request("GET", "/once") == b"ok"
    busy.cancel()
    assert peer.connections <= 2

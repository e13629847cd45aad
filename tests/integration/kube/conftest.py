"""A real HTTP server that plays what a test scripts, and tells the test what it was asked."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client

BOUND = 5.0  # seconds that a test waits for a condition at most


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """`body` is sent as JSON unless it is bytes. `cut` closes the connection before all of it is sent."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False


class Watch:
    """A watch that a client holds open: the test sends its events."""

    def __init__(self, query: dict[str, str]) -> None:
        self.query = query
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.dropped = False

    def send(self, kind: str, obj: dict[str, Any]) -> None:
        self.raw(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        self._lines.put_nowait(data)

    def end(self) -> None:
        """A clean close, as at timeoutSeconds."""
        self._lines.put_nowait(None)

    def drop(self) -> None:
        """The connection breaks."""
        self.dropped = True
        self._lines.put_nowait(None)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            while (line := await self._lines.get()) is not None:
                await response.write(line)
            if self.dropped and request.transport:
                request.transport.abort()
        finally:
            self.closed.set()
        return response


class Server:
    """Replies are played per method and path, in order, the last one again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._script: dict[tuple[str, str], deque[Reply]] = defaultdict(deque)
        self._watches: asyncio.Queue[Watch] = asyncio.Queue()
        self._asked = asyncio.Condition()

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._script[method, path] = deque(replies)

    async def watch(self) -> Watch:
        """The next watch that a client opens and that no reply was scripted for."""
        async with asyncio.timeout(BOUND):
            return await self._watches.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until a request makes `condition` true."""
        async with asyncio.timeout(BOUND), self._asked:
            await self._asked.wait_for(condition)

    def count(self, method: str, path: str, **query: str) -> int:
        return sum(
            seen.method == method and seen.path == path and query.items() <= seen.query.items() for seen in self.seen
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.path, dict(request.query), dict(request.headers), await request.read())
        self.seen.append(seen)
        async with self._asked:
            self._asked.notify_all()
        watching = "watch" in request.query
        script = self._script["WATCH" if watching else request.method, request.path]
        if watching and not script:
            watch = Watch(seen.query)
            self._watches.put_nowait(watch)
            return await watch.serve(request)
        if not script:
            return web.json_response({"kind": "Status", "reason": "NotFound", "message": "unscripted"}, status=404)
        return await self._play(request, script.popleft() if len(script) > 1 else script[0])

    async def _play(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.hang:
            await asyncio.Event().wait()
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Content-Type": "application/json", **reply.headers}
        if not reply.cut:
            return web.Response(body=body, status=reply.status, headers=headers)
        response = web.StreamResponse(status=reply.status, headers={**headers, "Content-Length": str(len(body) + 1)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(Credentials(server=server.url, token="s3cret"), timeout=2.0) as client:
        yield client

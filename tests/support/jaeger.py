"""A real Jaeger on loopback, as deploy/jaeger pins and configures it, and what its API answers, as plain spans."""

import asyncio
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.otlp import Span
from tests.support.ports import free_port
from tests.support.waiting import until

CONFIG = servers.JAEGER.path / "config.yaml"
READY_WITHIN = 60.0  # seconds, on a busy machine
BOUND = 60.0
PORTS = ("JAEGER_OTLP_PORT", "JAEGER_QUERY_PORT", "JAEGER_GRPC_PORT", "JAEGER_HEALTH_PORT")


class Jaeger:
    """One that answers: `otlp` is where spans go, and `query` where it is asked."""

    def __init__(self, otlp: str, query: str) -> None:
        self.otlp = otlp
        self.query = query

    async def trace(self, trace: str, whole: Callable[[list[Span]], Any]) -> list[Span]:
        """The spans of a trace, once it is as a whole one is."""

        async def look() -> list[Span]:
            found = await self._ask(f"traces/{trace}")
            return [span for each in found for span in _spans(each)]

        spans: list[Span] = await until(look, f"trace {trace}", holds=whole, within=BOUND, pause=0.2)
        return spans

    async def search(self, service: str, tags: dict[str, str]) -> dict[str, list[Span]]:
        """The traces in which a span of a service has all these tags, by id."""
        asked = urllib.parse.urlencode({"service": service, "tags": json.dumps(tags), "lookback": "1h", "limit": 100})
        return {each["traceID"]: _spans(each) for each in await self._ask(f"traces?{asked}")}

    async def _ask(self, path: str) -> list[Any]:
        try:
            found = await asyncio.to_thread(_get, f"{self.query}/api/{path}")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:  # it has not heard of that trace yet
                raise
            return []
        return json.loads(found)["data"] or []


def binary() -> Path:
    """The program, where `make servers` has built it; else the test is skipped, or fails where it must run."""
    found = servers.JAEGER.find()
    if found is None:
        reason = f"no jaeger in {servers.JAEGER.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    return found / "jaeger"


@asynccontextmanager
async def jaeger(binary: Path, folder: Path) -> AsyncIterator[Jaeger]:
    """A Jaeger for the length of the block, on free ports."""
    ports = {name: str(free_port()) for name in PORTS}
    log = folder / "jaeger.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            binary, "--config", CONFIG, env={**os.environ, **ports}, stdout=out, stderr=out
        )
    health = f"http://127.0.0.1:{ports['JAEGER_HEALTH_PORT']}/status"

    async def healthy() -> bool:
        assert process.returncode is None, log.read_text()[-2000:]
        try:
            return bool(json.loads(await asyncio.to_thread(_get, health))["healthy"])
        except OSError:
            return False

    try:
        await until(healthy, "Jaeger is healthy", within=READY_WITHIN, pause=0.2)
        yield Jaeger(*(f"http://127.0.0.1:{ports[name]}" for name in PORTS[:2]))
    finally:
        process.kill()  # it keeps nothing, and waits for connections that others keep open
        await process.wait()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=BOUND) as response:
        return bytes(response.read())


def _spans(trace: dict[str, Any]) -> list[Span]:
    return [_span(each, trace["processes"][each["processID"]]["serviceName"]) for each in trace["spans"]]


def _span(span: dict[str, Any], service: str) -> Span:
    tags = {each["key"]: each["value"] for each in span["tags"]}
    above = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
    return Span(
        service=service,
        name=span["operationName"],
        trace=span["traceID"],
        id=span["spanID"],
        parent=above[0] if above else "",
        kind=tags.get("span.kind", "internal"),
        state="",
        attributes=tags,
        failed=bool(tags.get("error")),
        links=tuple(each["spanID"] for each in span["references"] if each["refType"] == "FOLLOWS_FROM"),
    )

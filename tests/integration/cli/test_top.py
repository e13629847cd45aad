"""`moorage top` on a terminal, with a real nats-server."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from tests.support.secured import provision
from tests.support.terminal import Terminal, terminal

CTRL_C = b"\x03"
LEAVES_THE_SCREEN = b"\x1b[?1049l"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as found:
        client = await NatsClient.connect(found.url, name="test")
        await provision(client)
        await client.close()
        yield found


@pytest.fixture
async def top(server: NatsServer) -> AsyncIterator[Terminal]:
    async with terminal(["top", "--interval", "200ms", "--nats-url", server.url], os.environ) as found:
        yield found


async def test_it_is_drawn_as_wide_and_as_high_as_the_window_and_anew_when_that_changes(
    top: Terminal, server: NatsServer
) -> None:
    whole = await top.shows(lambda text: "no target is known" in text)
    assert whole.startswith(f"{server.url}, every 0.2 s")
    assert "scheduler   evaluated" in whole
    top.resize(40, 9)
    small = await top.shows(lambda text: "no room" in text)
    assert len(small.splitlines()) == 9
    assert max(map(len, small.splitlines())) == 40
    top.resize(120, 40)
    await top.shows(lambda text: "no target is known" in text)


async def test_ctrl_c_gives_the_terminal_back(top: Terminal) -> None:
    await top.shows(lambda text: "WORKER" in text)
    top.press(CTRL_C)
    assert await top.ends() == 130
    assert LEAVES_THE_SCREEN in top.raw
    assert b"Traceback" not in top.raw


async def test_while_nats_does_not_answer_what_was_seen_last_stays_with_how_old_it_is(
    top: Terminal, server: NatsServer
) -> None:
    await top.shows(lambda text: "WORKER" in text)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        stale = await top.shows(lambda text: "as of" in text)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert "scheduler   evaluated" in stale
    await top.shows(lambda text: "as of" not in text)


async def test_it_goes_on_once_nats_was_killed_and_is_back(top: Terminal, server: NatsServer) -> None:
    await top.shows(lambda text: "WORKER" in text)
    server.kill()
    await server.ready()
    drawn = len(top.raw)
    await top.shows(lambda text: len(top.raw) > drawn and "WORKER" in text and "as of" not in text)
    assert top.child.returncode is None

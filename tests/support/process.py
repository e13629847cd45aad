"""Our commands as real processes, whose log lines a test can wait for."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
BOUND = 60.0  # seconds that anything may take on a busy machine
LIMIT = 1 << 20  # bytes of one line


class Process:
    """A process under way. `lines` is what it wrote to standard output and standard error, as it came.

    `leads`: it has a session of its own, and is ended together with what it has started there.
    """

    def __init__(self, child: asyncio.subprocess.Process, *, leads: bool = False) -> None:
        self.child = child
        self._leads = leads
        self.lines: list[str] = []
        self._heard = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.child.stdout is not None
        async for line in self.child.stdout:
            async with self._heard:
                self.lines.append(line.decode().rstrip("\n"))
                self._heard.notify_all()
        async with self._heard:
            self._heard.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects, as logs are."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    async def record(self, matches: Callable[[dict[str, Any]], bool], within: float = BOUND) -> dict[str, Any]:
        """The first log line that matches, once it is there; fails with the output when the process ends without."""

        def found() -> dict[str, Any] | None:
            return next((record for record in self.records if matches(record)), None)

        async with asyncio.timeout(within), self._heard:
            await self._heard.wait_for(lambda: found() is not None or self._reading.done())
        record = found()
        assert record is not None, f"it ended without saying so:\n{self.output}"
        return record

    async def ends(self, within: float = BOUND) -> int:
        """Its exit code, and all it wrote is in `lines`."""
        async with asyncio.timeout(within):
            await self._reading
            return await self.child.wait()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._leads:
            os.killpg(self.child.pid, number)
        else:
            self.child.send_signal(number)

    async def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        await self.child.wait()
        await self._reading


@asynccontextmanager
async def process(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, *, leads: bool = False
) -> AsyncIterator[Process]:
    """Run a command (a program beside this Python, or on the PATH) with this environment alone.

    `leads`: in a session of its own, all of which is ended with it.
    """
    program = BIN / command[0]
    child = await asyncio.create_subprocess_exec(
        str(program) if program.exists() else command[0],
        *command[1:],
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LIMIT,
        start_new_session=leads,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where who runs the tests ignores it
    )
    running = Process(child, leads=leads)
    try:
        yield running
    finally:
        await running.close()


async def http_get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a small plain HTTP resource on loopback."""
    async with asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return int(head.split(" ", 2)[1]), body

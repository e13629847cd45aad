"""Child processes of `moorage up`: started, watched, started again when they die, stopped together."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.cli.support.errors import CommandError

STOP_WITHIN = 30.0  # seconds; after that the child is killed
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a child that died is started again
LIVED_WELL = 30.0  # seconds after which the next pause is the first one again
PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """One process that is kept running. What it prints goes to a log file; the line `ready` of it is waited for.

    A worker says that it is ready by a JSON line with message `ready`, the sandbox by one with message `sandbox ready`.
    """

    def __init__(self, name: str, module: str, args: Sequence[str], env: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.said: dict[str, object] = {}
        self.restarts = 0
        self._command = [sys.executable, "-m", module, *args]
        self._env = dict(env)
        self._log = logs / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False
        self._settled = asyncio.Event()  # it is ready, or ended before it was
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def code(self) -> int | None:
        """With what it ended last; None while it runs."""
        return self._process.returncode if self._process is not None else None

    async def keep(self, say: Callable[[str], None]) -> None:
        """Run it for ever; when it dies, say so and start it again with back-off.

        Ends after `stop`, and when the process ends before it was ever ready: that would only happen again.
        """
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            await self._run()
            if self._stopping.is_set() or not self._ready:
                self._settled.set()
                return
            assert self._process is not None
            pause = FIRST_PAUSE if time.monotonic() - started > LIVED_WELL else min(pause * 2, LONGEST_PAUSE)
            say(f"{self.name} ended with code {self._process.returncode}, starting it again (log: {self._log})")
            self.restarts += 1
            await asyncio.sleep(pause)

    async def _run(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdout is not None
        with self._log.open("ab") as log:
            while line := await _line(self._process.stdout):
                log.write(line)
                log.flush()
                self._listen(line)
        await self._process.wait()

    def _listen(self, line: bytes) -> None:
        if b"ready" not in line:
            return
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(line)
            if said.get("message") in ("ready", "sandbox ready"):
                self.said = said
                self._ready = True
                self._settled.set()

    async def ready(self, by: float) -> None:
        """Wait until it is ready; raises CommandError with the end of its log when it ends, or the loop's time is `by`
        before that."""
        try:
            async with asyncio.timeout_at(by):
                await self._settled.wait()
        except TimeoutError:
            raise CommandError(f"{self.name} is not ready in time (--wait-timeout): {self.last_words()}") from None
        if not self._ready:
            assert self._process is not None
            raise CommandError(f"{self.name} ended with code {self._process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it printed."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it printed nothing"
        return lines[-1][-500:] if lines else "it printed nothing"

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when it does not end in time."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; an overlong one in pieces."""
    try:
        return await stream.readline()
    except ValueError:  # longer than the limit: what was buffered is dropped, the stream goes on
        return b"(a line of over 1 MiB was left out)\n"


def _die_with_parent() -> None:
    """Have the kernel end the child when this process dies, however it does (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.setpgrp()

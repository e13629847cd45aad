"""Real servers as child processes of a test: started, waited for, ended; none outlives the process that started it."""

import contextlib
import ctypes
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

READY_WITHIN = 90.0  # seconds, for a server on a busy machine
STOP_WITHIN = 10.0
PAUSE = 0.05
PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None)


class NotStarted(Exception):
    """A server did not become ready; the message holds the end of its log."""


def spawn(
    command: Sequence[str], log: IO[bytes], folder: Path, orphaned: signal.Signals = signal.SIGKILL
) -> subprocess.Popen[bytes]:
    """Start a server in a folder; what it writes goes to the log, and it gets the signal when this process dies."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        preexec_fn=partial(_die_with_parent, orphaned),  # noqa: PLW1509 - one system call, of a library that is loaded already
    )


def _die_with_parent(by: signal.Signals) -> None:
    """Have the kernel end the child when this process dies, however it does (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        LIBC.prctl(PR_SET_PDEATHSIG, by)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it, by force where it takes its time."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_ready(
    process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], within: float = READY_WITHIN
) -> None:
    """Wait until it is ready. Raises NotStarted where it is not within so many seconds, or ends."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(PAUSE)
    words = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise NotStarted(f"{log.stem} is not ready (code {process.poll()}): {' | '.join(words)[-1500:]}")


def answers(url: str, certificate: Path | None = None) -> bool:
    """Whether an address answers with 200, under this certificate."""
    try:
        context = ssl.create_default_context(cafile=str(certificate)) if certificate else None
        with urllib.request.urlopen(url, timeout=5, context=context) as response:
            return bool(response.status == 200)
    except (OSError, ssl.SSLError):  # not there yet, or not with this certificate
        return False

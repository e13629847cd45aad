"""A terminal for our commands: what they draw on it, at which size, with which keys."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.support.process import BIN, BOUND

HOME = b"\x1b[H"
"""What is written before a screen is drawn."""


SIZE = ("COLUMNS", "LINES")
"""What says of a terminal, before it is asked itself, how large it is: pytest-xdist sets these for its workers."""


class Terminal:
    """One end of a pseudo-terminal; the other is the command's. `raw` is all that was written to it."""

    def __init__(self, ours: int, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.raw = b""
        self._ours = ours
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._loop.add_reader(ours, self._read)

    def _read(self) -> None:
        try:
            some = os.read(self._ours, 1 << 16)
        except OSError:  # as Linux says that the other end is closed
            some = b""
        if not some:
            self._loop.remove_reader(self._ours)
        self.raw += some
        self._changed.set()

    @property
    def screen(self) -> list[str]:
        """The lines of the last screen that was drawn whole."""
        whole = self.raw.split(HOME)[1:-1]
        return [line.rstrip() for line in whole[-1].decode().split("\r\n")] if whole else []

    async def shows(self, wanted: Callable[[str], bool]) -> str:
        """The first screen from now on of which this holds; fails with the last one where none comes."""
        try:
            async with asyncio.timeout(BOUND):
                while not wanted("\n".join(self.screen)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = self.raw[-2000:].decode(errors="replace")
            raise AssertionError(f"exit code {self.child.returncode}, last written: {last}") from None
        return "\n".join(self.screen)

    def resize(self, width: int, height: int) -> None:
        """As a window does: another size, and a signal that tells of it."""
        _resize(self._ours, width, height)
        os.killpg(self.child.pid, signal.SIGWINCH)

    def press(self, keys: bytes) -> None:
        """Keys, as the terminal sends them."""
        os.write(self._ours, keys)

    async def ends(self) -> int:
        """The exit code of the command."""
        async with asyncio.timeout(BOUND):
            return await self.child.wait()


def _at_a_terminal() -> None:
    """Runs in the child: the terminal is its own, and Ctrl-C ends it, also where who runs the tests ignores it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _resize(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


@asynccontextmanager
async def terminal(
    args: Sequence[str], env: Mapping[str, str], width: int = 80, height: int = 24
) -> AsyncIterator[Terminal]:
    """`moorage ARGS` with a terminal of its own, as its controlling one; killed at the end."""
    ours, theirs = pty.openpty()
    _resize(theirs, width, height)
    try:
        child = await asyncio.create_subprocess_exec(
            str(BIN / "moorage"),
            *args,
            env={name: value for name, value in env.items() if name not in SIZE} | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_at_a_terminal,
        )
    finally:
        os.close(theirs)
    found = Terminal(ours, child)
    try:
        yield found
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)

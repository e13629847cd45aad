"""A Docker engine for as long as a command runs: `python -m tests.support.engine COMMAND...`.

An engine that answers is used as it is. Where none does, one is started that belongs to this run alone: with its own
data, socket and Compose, ended together with the command, also where that is interrupted. Images that it cannot pull
are made here (tests/support/images.py). This needs root on Debian, whose apt-get installs what is missing.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker  # type: ignore[import-untyped]  # it ships no types
from docker.errors import APIError, DockerException, NotFound  # type: ignore[import-untyped]  # the same

from tests.support import children, images, servers

PACKAGES = {"dockerd": "docker.io", "debootstrap": "debootstrap"}
"""What Debian calls the package of each program that is needed."""

BUILT_HERE = (servers.COMPOSE, servers.JAEGER)
ANSWERS_WITHIN = 60.0  # seconds, on a busy machine
END_WITHIN = 60.0  # seconds, for an engine that has containers to end, on a busy machine
CONTAINERS_END_WITHIN = 5  # seconds
COMMAND_ENDS_WITHIN = 20.0  # seconds


class NoEngine(Exception):
    """No engine can be started here, and nothing is wrong about that; one sentence that says why."""


def why_not(url: str | None = None) -> str:
    """Why no engine answers (at this URL, or where the environment says), or an empty string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client forgets to close a socket that it cannot connect
        try:
            waits = {"timeout": ANSWERS_WITHIN}
            client = docker.DockerClient(base_url=url, **waits) if url else docker.from_env(**waits)
            client.ping()
        except DockerException as error:
            reason = str(error)
        else:
            client.close()
            return ""
        gc.collect()
    return reason


def has(image: str) -> bool:
    """Whether the engine that answers has an image, or could pull it."""
    client = docker.from_env()
    try:
        client.images.get(image)
    except NotFound:
        try:
            client.images.pull(image)
        except APIError:
            return False
    finally:
        client.close()
    return True


def check() -> None:
    """Raises NoEngine where this is no machine on which one can be started."""
    if os.geteuid() != 0:
        raise NoEngine("this is not root")
    if not (Path("/etc/debian_version").exists() and shutil.which("apt-get")):
        raise NoEngine("this is not Debian")
    if not (shutil.which("go") or all(module.find() for module in BUILT_HERE)):
        raise NoEngine("there is no Go to build Compose and Jaeger with")


def install() -> None:
    """Install the programs that are missing. Raises CalledProcessError where apt-get cannot."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    tell(f"installing {' and '.join(missing)} by apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "--quiet=2", *command], env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def engine(folder: Path) -> Iterator[dict[str, str]]:
    """An engine of one's own, which keeps everything in this folder; the variables by which clients find it."""
    socket = f"unix://{folder}/docker.sock"
    (config := folder / "daemon.json").write_text("{}")  # what is configured for another engine does not hold for this
    options = {
        "--config-file": config,
        "--data-root": folder / "data",
        "--exec-root": folder / "run",
        "--host": socket,
        "--pidfile": folder / "docker.pid",
        "--shutdown-timeout": CONTAINERS_END_WITHIN,
    }
    command = ["dockerd", *(f"{name}={value}" for name, value in options.items())]
    with (log := folder / "dockerd.log").open("wb") as out:
        # It ends its containers at SIGTERM, and at SIGKILL it leaves them.
        process = children.spawn(command, out, folder, orphaned=signal.SIGTERM)
    try:
        children.await_ready(process, log, lambda: not why_not(socket))
        yield {"DOCKER_HOST": socket}
    finally:
        process.terminate()
        try:
            process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            tell(f"dockerd did not end within {END_WITHIN:.0f} seconds")
        unmount(folder)


def unmount(folder: Path) -> None:
    """Take away what an engine has left mounted below its folder: the last first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(mounted):
        if Path(point).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", point], check=True)


def compose(folder: Path) -> dict[str, str]:
    """Make a client's configuration in which Compose is a command of docker; the variable that names it."""
    plugins = folder / "client" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(servers.COMPOSE.build() / "docker-compose")
    return {"DOCKER_CONFIG": str(plugins.parent)}


@contextmanager
def an_engine() -> Iterator[dict[str, str]]:
    """The variables by which a command finds an engine; none where one answers anyway.

    Raises NoEngine, and what goes wrong where one should start.
    """
    if not why_not():
        yield {}
        return
    check()
    install()
    if not why_not():  # where systemd runs, Debian's package has started one
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="moorage-docker-", dir="/var/tmp") as name, engine(Path(name)) as found:
        tell(f"started an engine of our own in {name}")
        variables = {**found, **compose(Path(name)), "TESTCONTAINERS_RYUK_DISABLED": "true"}  # all ends with the engine
        images.furnish(Path(name), {**os.environ, **variables}, tell)
        yield variables


def run(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run a command to its end, and return its code; it ends before an exception leaves this function."""
    process = subprocess.Popen(command, env={**os.environ, **variables})
    try:
        return process.wait()
    finally:
        process.terminate()
        try:
            process.wait(COMMAND_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def interrupted(number: int, frame: object) -> None:
    """Leave by an exception, so that what was started is ended; what comes after it interrupts that no more."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def tell(what: str) -> None:
    """One line for who waits."""
    sys.stderr.write(f"{what}\n")


def main() -> int:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, interrupted)
    try:
        with an_engine() as variables:
            return run(sys.argv[1:], variables)
    except NoEngine as reason:
        tell(f"skipped: no Docker engine answers, and none can be started here, since {reason}")
        return 0
    except (children.NotStarted, servers.NoServers, subprocess.CalledProcessError) as error:
        tell(f"no Docker engine: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

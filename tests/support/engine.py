"""A Docker engine for as long as a command runs: `python -m tests.support.engine COMMAND...`.

An engine that answers is used as it is. Where none does, one is started that belongs to this run alone: with its own
socket and Compose, ended together with the command, also where that is interrupted, and what it did to the network is
taken back. Its images stay in the cache. Images that it cannot pull are made here (tests/support/images.py). This needs
root on Debian, whose apt-get installs what is missing.

Where none can be had, or one could not be set up (a package mirror that does not answer), that is no failure of what is
tested: the file that MOORAGE_ENGINE_VERDICT names says so, in one sentence.
"""

import contextlib
import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker  # type: ignore[import-untyped]  # it ships no types
from docker.errors import APIError, DockerException, NotFound  # type: ignore[import-untyped]  # the same

from tests.support import children, footprint, images, newer, servers

PACKAGES = {"dockerd": "docker.io", "debootstrap": "debootstrap"}
"""What Debian calls the package of each program that is needed."""

BUILT_HERE = (servers.COMPOSE, servers.JAEGER)
ANSWERS_WITHIN = 60.0  # seconds, on a busy machine
END_WITHIN = 60.0  # seconds, for an engine that has containers to end, on a busy machine
CONTAINERS_END_WITHIN = 5  # seconds
COMMAND_ENDS_WITHIN = 20.0  # seconds
INSTALLED_WITHIN = 300.0  # seconds, for each of apt-get's two commands
LEAST_FREE = 8 << 30  # bytes on the disk of the cache, below which what an engine has kept there goes first
KEPT = "48h"  # for how long layers are kept that no image has any more
VERDICT = "MOORAGE_ENGINE_VERDICT"
SUITE = "MOORAGE_ENGINE_SUITE"
"""Names a newer Debian whose engine is started in any case, whatever answers (`trixie`: Docker 26)."""


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
    if not (Path("/sys/fs/cgroup").is_dir() and os.access("/sys/fs/cgroup", os.W_OK)):
        raise NoEngine("there are no cgroups that may be written")


def check_network() -> None:
    """Raises NoEngine where the kernel, or what confines us, lets nobody write the rules that Docker needs."""
    for tool in ("iptables", "iptables-legacy"):
        if shutil.which(tool) and not subprocess.run([tool, "-t", "nat", "-S"], capture_output=True).returncode:
            return
    raise NoEngine("there is no iptables that works")


def install() -> None:
    """Install the programs that are missing. Raises CalledProcessError where apt-get cannot."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    tell(f"installing {' and '.join(missing)} by apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(
            ["apt-get", "--quiet=2", *command],
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=INSTALLED_WITHIN,
        )


@contextmanager
def data(folder: Path) -> Iterator[Path]:
    """Where an engine keeps its images: in the cache, unless another engine is at work there; else in the folder."""
    kept = servers.cache() / "-".join(filter(None, ("docker-data", os.environ.get(SUITE))))
    kept.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield folder / "data"
            return
        unmount(kept)  # what an engine left that was killed
        if shutil.disk_usage(kept).free < LEAST_FREE:
            tell("the disk is nearly full: what engines kept is taken away")
            shutil.rmtree(kept)
            kept.mkdir()
        yield kept


def version(variables: dict[str, str]) -> str:
    """Which version of Docker it is."""
    client = docker.DockerClient(base_url=variables["DOCKER_HOST"], timeout=ANSWERS_WITHIN)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


def clear(variables: dict[str, str]) -> None:
    """Take away all containers, networks and volumes of an engine of ours, and layers that nobody needs any more."""
    client = docker.DockerClient(base_url=variables["DOCKER_HOST"], timeout=ANSWERS_WITHIN)
    try:
        for container in client.containers.list(all=True):
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)
        client.volumes.prune()
        client.networks.prune()
        client.images.prune(filters={"dangling": True, "until": KEPT})
    finally:
        client.close()


@contextmanager
def engine(folder: Path, kept: Path) -> Iterator[dict[str, str]]:
    """An engine of one's own, with its images in `kept` and all else in this folder; the variables that name it.

    The network is as before when it has ended.
    """
    before = footprint.look()
    at_work = (servers.cache() / "docker-at-work.lock").open("w")
    fcntl.flock(at_work, fcntl.LOCK_SH)
    socket = f"unix://{folder}/docker.sock"
    (config := folder / "daemon.json").write_text("{}")  # what is configured for another engine does not hold for this
    options = {
        "--config-file": config,
        "--data-root": kept,
        "--exec-root": folder / "run",
        "--host": socket,
        "--pidfile": folder / "docker.pid",
        "--shutdown-timeout": CONTAINERS_END_WITHIN,
    }
    command = [*started_by(), *(f"{name}={value}" for name, value in options.items())]
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
        unmount(kept)
        with at_work, contextlib.suppress(BlockingIOError):  # rules and bridge are those of other engines of ours, too
            fcntl.flock(at_work, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in footprint.take_back(before):
                tell(f"not taken back: {each}")


def started_by() -> list[str]:
    """The program that is the engine: this machine's, or that of the suite, which finds what belongs to it in PATH."""
    if not (suite := os.environ.get(SUITE)):
        return ["dockerd"]
    programs = newer.programs(suite, tell)
    return ["env", f"PATH={programs}:{os.environ['PATH']}", str(programs / "dockerd")]


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
    own = bool(os.environ.get(SUITE))
    if not own and not why_not():
        yield {}
        return
    check()
    install()
    if not own and not why_not():  # where systemd runs, Debian's package has started one
        yield {}
        return
    check_network()
    with (
        tempfile.TemporaryDirectory(prefix="moorage-docker-", dir="/var/tmp") as name,
        data(Path(name)) as kept,
        engine(Path(name), kept) as found,
    ):
        tell(f"started an engine of our own, Docker {version(found)}, in {name}, with its images in {kept}")
        clear(found)
        variables = {**found, **compose(Path(name)), "TESTCONTAINERS_RYUK_DISABLED": "true"}  # all ends with the engine
        images.furnish(Path(name), {**os.environ, **variables}, tell)
        try:
            yield variables
        finally:
            with contextlib.suppress(DockerException):  # the next one does it
                clear(found)


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


_BEGUN = time.monotonic()


def tell(what: str) -> None:
    """One line for who waits, after the seconds since the beginning."""
    sys.stderr.write(f"[{time.monotonic() - _BEGUN:.0f} s] {what}\n")


def untold(what: str) -> None:
    """Say that nothing was tested, and why: to who waits, and to who asked for a verdict."""
    sys.stderr.write(f"{what}\n")
    if path := os.environ.get(VERDICT):
        Path(path).write_text(f"{what}\n")


def main() -> int:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, interrupted)
    begun = False
    try:
        with an_engine() as variables:
            begun = True
            return run(sys.argv[1:], variables)
    except SystemExit:
        if not begun:
            untold("no Docker engine could be set up before this was interrupted")
        raise
    except NoEngine as reason:
        untold(f"skipped: no Docker engine answers, and none can be started here, since {reason}")
        return 0
    except (children.NotStarted, servers.NoServers, subprocess.SubprocessError, DockerException) as error:
        untold(f"no Docker engine could be set up: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The Docker engine of a newer Debian, beside this machine's own: unpacked in the cache, installed nowhere.

Docker is written in Go and asks little of the C library, so that the engine of Debian 13 runs on Debian 12. What starts
containers in the end (runc, and their init) is this machine's.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support import servers

PACKAGES: Final = ("docker.io", "containerd")
PROGRAMS: Final = ("dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2")
DOWNLOADED_WITHIN: Final = 300.0  # seconds, for each of apt-get's two commands
_KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TARGETS: Final = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main")


def programs(suite: str, tell: Callable[[str], None]) -> Path:
    """The folder with the engine's programs as a suite of Debian has them (`trixie`); a second run finds them there.

    Raises SubprocessError where they cannot be had from where this machine has its packages.
    """
    found = servers.cache() / f"docker-of-{suite}"
    if all(os.access(found / name, os.X_OK) for name in PROGRAMS):
        return found
    tell(f"taking {' and '.join(PACKAGES)} of Debian {suite} apart")
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="moorage-newer-", dir="/var/tmp") as name:
        folder = Path(name)
        options = _apart(folder, suite)
        for command in ("update", "download"):
            names = PACKAGES if command == "download" else ()
            _run("apt-get", "--quiet=2", *options, command, *names, folder=folder, within=DOWNLOADED_WITHIN)
        for package in folder.glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), "unpacked", folder=folder)
        for program in PROGRAMS:
            (source,) = (each for each in folder.glob(f"unpacked/usr/*bin/{program}") if not each.is_symlink())
            _run("install", "--mode=0755", str(source), str(found / program), folder=folder)
    return found


def _apart(folder: Path, suite: str) -> tuple[str, ...]:
    """Options by which apt-get knows that suite alone, from this machine's mirror, and keeps all of it in a folder."""
    mirror = subprocess.run(_TARGETS, capture_output=True, text=True, check=True).stdout.split()[0]
    (folder / "sources").write_text(f"deb [signed-by={_KEYS} check-valid-until=no] {mirror} {suite} main\n")
    (folder / "status").touch()
    (folder / "lists/partial").mkdir(parents=True)
    given = {
        "Dir::Etc::SourceList": folder / "sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return tuple(f"--option={name}={value}" for name, value in given.items())


def _run(*command: str, folder: Path, within: float = 60.0) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=within, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

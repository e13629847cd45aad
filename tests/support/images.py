"""Stand-ins for the published images that Moorage builds on and runs with, for an engine that reaches no registry.

They are of Debian's packages, a published wheel and a published Go module, and have what our files use of the real
ones. They are for tests, and nothing of them is published.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support import servers
from tests.support.compose import ROOT, SERVICES
from tests.support.process import BIN

PYTHON = next(iter(re.findall(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)))
NATS, JAEGER = SERVICES["nats"]["image"], SERVICES["jaeger"]["image"]

SUITE = "bookworm"  # whose Python is 3.11
BASE = "moorage-test/debian"
INCLUDED = ("ca-certificates", "python3", "python3-pip", "python3-venv", "wget")
NOT_PACKED = ("./var/cache/apt/archives", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man")

MACHINE = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
"""What this machine trusts, and where its pip finds packages: what is built in containers has them from there too.
It is copied when the image is made, on the machine whose engine has it, and is part of nothing else.
"""


DIGEST = "moorage.test/stand-in"
"""The label of a stand-in: of what it was made, by which a later run sees that it need not be made again."""
PULLED_WITHIN = 120.0  # seconds
MADE_WITHIN = 900.0  # seconds


@dataclass(frozen=True)
class StandIn:
    """How an image is made: the lines of its Dockerfile, and what lies in its folder `files` while it is built."""

    lines: tuple[str, ...]
    files: Callable[[], Mapping[str, Path]]

    @property
    def digest(self) -> str:
        """What tells it from one that is made otherwise."""
        found = hashlib.sha256("\n".join((SUITE, *INCLUDED, *self.lines)).encode())
        for target, source in sorted(self.files().items()):
            found.update(target.encode() + hashlib.sha256(source.read_bytes()).digest())
        return found.hexdigest()

    def build(self, name: str, folder: Path, env: Mapping[str, str]) -> None:
        """Make it, in an empty folder."""
        for target, source in self.files().items():
            to = folder / "files" / target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
        (folder / "Dockerfile").write_text("\n".join((f"FROM {BASE}", "COPY files /", *self.lines, "")))
        docker("build", "--label", f"{DIGEST}={self.digest}", "--tag", name, str(folder), env=env)


STAND_INS = {
    PYTHON: StandIn(
        ("RUN ln -s python3 /usr/bin/python", 'CMD ["python3"]'),
        lambda: {str(path.relative_to("/")): path for path in MACHINE if path.exists()},
    ),
    NATS: StandIn(('ENTRYPOINT ["/nats-server"]',), lambda: {"nats-server": BIN / "nats-server"}),
    # The published image runs as this user, too.
    JAEGER: StandIn(("USER 10001", 'ENTRYPOINT ["/jaeger"]'), lambda: {"jaeger": servers.JAEGER.build() / "jaeger"}),
}


def furnish(folder: Path, env: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """See that an engine has all images, pulled where that is possible; `folder` is for what lies around meanwhile.

    Raises CalledProcessError.
    """
    missing = [name for name, each in STAND_INS.items() if not (made(name, each, env) or pulled(name, env))]
    if not missing:
        return
    tell(f"no registry gives {', '.join(missing)}: making stand-ins")
    with base(folder, tell).open("rb") as packed:
        docker("import", "-", BASE, env=env, stdin=packed)
    for number, name in enumerate(missing):
        (context := folder / f"image-{number}").mkdir()
        STAND_INS[name].build(name, context, env)


def made(name: str, stand_in: StandIn, env: Mapping[str, str]) -> bool:
    """Whether the engine has this stand-in already, made of the same."""
    label = f'{{{{index .Config.Labels "{DIGEST}"}}}}'
    command = ["docker", "image", "inspect", "--format", label, name]
    return subprocess.run(command, env=env, capture_output=True, text=True).stdout.strip() == stand_in.digest


def pulled(name: str, env: Mapping[str, str]) -> bool:
    """Whether the engine could pull an image, in time."""
    command = ["docker", "pull", "--quiet", name]
    try:
        return subprocess.run(command, env=env, capture_output=True, timeout=PULLED_WITHIN).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def base(folder: Path, tell: Callable[[str], None]) -> Path:
    """A small Debian with Python and wget, packed; a second run finds it in the cache."""
    found = servers.cache() / f"{SUITE}-{'-'.join(INCLUDED)}.tar"
    if found.exists():
        return found
    tell(f"making a Debian {SUITE} by debootstrap (a minute)")
    system, unfinished = folder / "system", found.with_suffix(f".{os.getpid()}")
    found.parent.mkdir(parents=True, exist_ok=True)
    make = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", SUITE, str(system)]
    pack = ["tar", "--create", f"--directory={system}", *(f"--exclude={each}/*" for each in NOT_PACKED)]
    try:
        subprocess.run(make, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=MADE_WITHIN)
        subprocess.run([*pack, f"--file={unfinished}", "."], check=True)
        unfinished.rename(found)
    finally:
        unfinished.unlink(missing_ok=True)
    return found


def docker(*command: str, env: Mapping[str, str], stdin: IO[bytes] | None = None) -> None:
    """Raises CalledProcessError, after what docker said."""
    done = subprocess.run(["docker", *command], env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.stderr.buffer.write(done.stdout)
    done.check_returncode()

"""A real kcp as a child process on loopback, where MOORAGE_KCP names its program; tests of it have the marker `kcp`."""

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from shared.hub.resources import WORKSPACES
from shared.kube.client import Client
from tests.support.apiserver import ADMIN, kubeconfig
from tests.support.children import answers, await_ready, spawn, stop
from tests.support.manifests import obj
from tests.support.ports import free_port
from tests.support.waiting import until

PROGRAM = "MOORAGE_KCP"
ADMINS = "system:kcp:admin"
ROOT, LOG, KUBECONFIG = "kcp", "kcp.log", "admin.kubeconfig"
READY_WITHIN = 240.0  # seconds; 10 to 40 where nothing else runs
WITHIN = 60.0  # seconds for what controllers do


class NoKcp(Exception):
    """There is no kcp; one sentence that says why."""


@dataclass
class Kcp:
    """A kcp that answers: one shard with an etcd of its own. `url` is where workspaces are under `/clusters/`."""

    url: str
    folder: Path
    _tokens: Mapping[str, str] = field(repr=False)
    _command: Sequence[str] = field(repr=False)
    _log: IO[bytes] = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and wait until it answers. Raises NotStarted."""
        root = self.folder / ROOT
        self._process = spawn(self._command, self._log, root)
        await_ready(self._process, self.folder / LOG, lambda: _ready(self.url, root, self._certificate), READY_WITHIN)

    def end(self) -> None:
        """End it; what was written in it stays."""
        if self._process is not None:
            stop(self._process)

    @property
    def _certificate(self) -> Path:
        return self.folder / "authority.crt"

    def kubeconfig(self, user: str = ADMIN, workspace: str = "root") -> Path:
        """The kubeconfig of a user, leading to a workspace."""
        path = self.folder / f"{user}-{workspace.replace(':', '-')}.kubeconfig"
        authority = self._certificate.read_text()
        document = kubeconfig(f"{self.url}/clusters/{workspace}", authority, user, self._tokens[user])
        path.write_text(yaml.safe_dump(document))
        return path


def program() -> Path:
    """The program that MOORAGE_KCP names. Raises NoKcp where it names none, ValueError where it cannot be run."""
    given = os.environ.get(PROGRAM, "")
    if not given:
        raise NoKcp(f"{PROGRAM} names no kcp")
    path = Path(given).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise ValueError(f"{PROGRAM}: {given} is no program")
    return path


@contextmanager
def kcp(folder: Path, users: Sequence[tuple[str, Sequence[str]]] = ()) -> Iterator[Kcp]:
    """A kcp of its own for as long as the block runs: `users` are names and groups, beside `admin`, who may do all.

    The administrator's token that kcp writes by itself is another one at each start, so that of `admin` is not it.
    Raises NoKcp, ValueError and NotStarted.
    """
    command = program()
    tokens = {ADMIN: secrets.token_urlsafe(24), **{user: secrets.token_urlsafe(24) for user, _ in users}}
    groups = {ADMIN: (ADMINS,), **dict(users)}
    token_file = folder / "tokens.csv"
    token_file.write_text(
        "".join(f'{token},{user},{user},"{",".join(groups[user])}"\n' for user, token in tokens.items())
    )
    token_file.chmod(0o600)
    port, root = free_port(), folder / ROOT
    root.mkdir()
    url = f"https://127.0.0.1:{port}"
    flags = {
        "root-directory": root,
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "external-hostname": "127.0.0.1",
        "shard-base-url": url,
        "shard-external-url": url,
        "embedded-etcd-client-port": free_port(),
        "embedded-etcd-peer-port": free_port(),
        "token-auth-file": token_file,
    }
    with (folder / LOG).open("wb") as log:
        started = [str(command), "start", *(f"--{name}={value}" for name, value in flags.items())]
        found = Kcp(url, folder, tokens, started, log)
        try:
            found.start()
            yield found
        finally:
            found.end()


async def add_workspace(parent: Client, name: str, within: float = WITHIN) -> dict[str, Any]:
    """Make a workspace below another, on kcp or the sandbox; as it is once it is Ready, `within` so many seconds."""
    await parent.create(WORKSPACES, obj("Workspace", WORKSPACES.api_version, name=name, namespace=""))

    async def ready() -> dict[str, Any] | None:
        found = await parent.get(WORKSPACES, name)
        return found if (found.get("status") or {}).get("phase") == "Ready" else None

    found: dict[str, Any] = await until(ready, f"workspace {name} is Ready", within=within, pause=0.1)
    return found


def _ready(url: str, root: Path, certificate: Path) -> bool:
    """Whether it answers; who vouches for it is said by the kubeconfig that it writes."""
    try:
        clusters = yaml.safe_load((root / KUBECONFIG).read_text())["clusters"]
        authority = base64.b64decode(clusters[0]["cluster"]["certificate-authority-data"], validate=True)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):  # not there yet, or half written
        return False
    certificate.write_bytes(authority)
    return answers(f"{url}/readyz", certificate)

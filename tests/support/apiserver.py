"""Real API servers as child processes on loopback: one etcd, and as many kube-apiservers on it as a test wants."""

import base64
import contextlib
import ctypes
import secrets
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.ports import free_port

READY_WITHIN = 90.0  # seconds, for a server on a busy machine
STOP_WITHIN = 10.0
PAUSE = 0.05
PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None)

ADMIN = "admin"
MASTERS = "system:masters"


class NotStarted(Exception):
    """A server did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class ApiServer:
    """A kube-apiserver that answers. `kubeconfigs` by user; `folder` holds its files and logs."""

    name: str
    url: str
    folder: Path
    kubeconfigs: dict[str, Path]
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """Make it unreachable, as a cluster that is lost."""
        _stop(self.process)


@dataclass
class Etcd:
    """An etcd that answers; its keys are divided between API servers by prefix."""

    url: str

    def compact(self) -> None:
        """Forget all versions but the newest, as API servers have it done every five minutes."""
        # etcd's JSON gateway: the current revision is in the header of any answer.
        answer = self._call("kv/range", '{"key": "AA=="}')
        revision = yaml.safe_load(answer)["header"]["revision"]
        self._call("kv/compaction", f'{{"revision": "{revision}", "physical": true}}')

    def _call(self, path: str, body: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/v3/{path}", body.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            return bytes(response.read())


class Servers:
    """Starts servers from a folder of binaries; all of them end with the `with` block, and with this process."""

    def __init__(self, binaries: Path, folder: Path, stack: ExitStack) -> None:
        self._binaries = binaries
        self._folder = folder
        self._stack = stack
        self.etcd = self._start_etcd()

    def apiserver(
        self, name: str, users: Sequence[tuple[str, Sequence[str]]] = (), *, controllers: bool = False
    ) -> ApiServer:
        """A kube-apiserver of its own, with RBAC: `users` are names and groups, besides `admin`, who may do anything.

        `controllers` starts kube-controller-manager for it: garbage collection, namespaces, aggregated roles.
        """
        folder = self._folder / name
        folder.mkdir(parents=True)
        key = _service_account_key(folder / "service-accounts.key")
        tokens = {user: (secrets.token_urlsafe(24), groups) for user, groups in ((ADMIN, (MASTERS,)), *users)}
        token_file = folder / "tokens.csv"
        token_file.write_text(
            "".join(f'{token},{user},{user},"{",".join(groups)}"\n' for user, (token, groups) in tokens.items())
        )
        port = free_port()
        flags = {
            "etcd-servers": self.etcd.url,
            "etcd-prefix": f"/{name}",
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "cert-dir": folder,
            "endpoint-reconciler-type": "none",  # it would refuse to advertise loopback
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://moorage.test",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "token-auth-file": token_file,
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",  # Pods need no account where no controller makes one
            # Pages from etcd itself, so that compaction is seen at once, not when the server next asks about it.
            "feature-gates": "ListFromCacheSnapshot=false",
        }
        server = self._start(folder, "kube-apiserver", flags)
        certificate = folder / "apiserver.crt"
        url = f"https://127.0.0.1:{port}"
        _await(server, folder / "kube-apiserver.log", lambda: _answers(f"{url}/readyz", certificate))
        kubeconfigs = {}
        for user, (token, _) in tokens.items():
            path = kubeconfigs[user] = folder / f"{user}.kubeconfig"
            path.write_text(yaml.safe_dump(kubeconfig(url, certificate.read_text(), user, token)))
        if controllers:
            self._start_controllers(folder, key, kubeconfigs[ADMIN])
        return ApiServer(name, url, folder, kubeconfigs, server)

    def _start_etcd(self) -> Etcd:
        client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        folder = self._folder / "etcd"
        folder.mkdir(parents=True)
        flags = {
            "data-dir": folder / "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",  # a test's data need not survive the machine
            "log-level": "warn",
        }
        process = self._start(folder, "etcd", flags)
        _await(process, folder / "etcd.log", lambda: _answers(f"{client}/health"))
        return Etcd(client)

    def _start_controllers(self, folder: Path, key: Path, admin: Path) -> None:
        port = free_port()
        controllers = "namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller"
        flags = {
            "kubeconfig": admin,
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "cert-dir": folder / "controllers",
            "authentication-kubeconfig": admin,
            "authorization-kubeconfig": admin,
            "service-account-private-key-file": key,
            "controllers": controllers,
            "leader-elect": "false",
            "min-resync-period": "30s",
        }
        process = self._start(folder, "kube-controller-manager", flags)
        certificate = folder / "controllers" / "kube-controller-manager.crt"
        _await(
            process,
            folder / "kube-controller-manager.log",
            lambda: _answers(f"https://127.0.0.1:{port}/healthz", certificate),
        )

    def _start(self, folder: Path, name: str, flags: dict[str, object]) -> subprocess.Popen[bytes]:
        command = [str(self._binaries / name), *(f"--{flag}={value}" for flag, value in flags.items())]
        log = self._stack.enter_context((folder / f"{name}.log").open("wb"))
        process = _spawn(command, log, folder)
        self._stack.callback(_stop, process)
        return process


@contextmanager
def servers(binaries: Path, folder: Path) -> Iterator[Servers]:
    """Real servers from the binaries of `tests.support.servers`, their files in `folder`."""
    with ExitStack() as stack:
        yield Servers(binaries, folder, stack)


def kubeconfig(url: str, authority: str, user: str, token: str) -> dict[str, object]:
    """A kubeconfig as a document."""

    trust = base64.b64encode(authority.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": url, "certificate-authority-data": trust}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": user}}],
        "current-context": "it",
    }


def _service_account_key(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.write_bytes(encoded)
    return path


def _spawn(command: Sequence[str], log: IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, of a library that is loaded already
    )


def _die_with_parent() -> None:
    """Have the kernel end the child when this process dies, however it does (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(PAUSE)
    words = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise NotStarted(f"{log.stem} is not ready (code {process.poll()}): {' | '.join(words)[-1500:]}")


def _answers(url: str, certificate: Path | None = None) -> bool:
    try:
        context = ssl.create_default_context(cafile=str(certificate)) if certificate else None
        with urllib.request.urlopen(url, timeout=5, context=context) as response:
            return bool(response.status == 200)
    except (OSError, ssl.SSLError):  # not there yet, or not with this certificate
        return False

"""Real API servers as child processes on loopback: one etcd, and as many kube-apiservers on it as a test wants."""

import base64
import secrets
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.children import answers, await_ready, spawn, stop
from tests.support.ports import free_port

GARBAGE = "garbage-collector-controller"
TOKENS = "serviceaccount-token-controller"
CONTROLLERS = ("namespace-controller", GARBAGE, "clusterrole-aggregation-controller", TOKENS)
ADMIN = "admin"
MASTERS = "system:masters"


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
        stop(self.process)


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
        self, name: str, users: Sequence[tuple[str, Sequence[str]]] = (), *, controllers: Sequence[str] = ()
    ) -> ApiServer:
        """A kube-apiserver of its own, with RBAC: `users` are names and groups, besides `admin`, who may do anything.

        `controllers` are those of kube-controller-manager that run for it.
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
        await_ready(server, folder / "kube-apiserver.log", lambda: answers(f"{url}/readyz", certificate))
        kubeconfigs = {}
        for user, (token, _) in tokens.items():
            path = kubeconfigs[user] = folder / f"{user}.kubeconfig"
            path.write_text(yaml.safe_dump(kubeconfig(url, certificate.read_text(), user, token)))
        if controllers:
            self._start_controllers(folder, key, kubeconfigs[ADMIN], controllers)
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
        await_ready(process, folder / "etcd.log", lambda: answers(f"{client}/health"))
        return Etcd(client)

    def _start_controllers(self, folder: Path, key: Path, admin: Path, controllers: Sequence[str]) -> None:
        port = free_port()
        flags = {
            "kubeconfig": admin,
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "cert-dir": folder / "controllers",
            "authentication-kubeconfig": admin,
            "authorization-kubeconfig": admin,
            **({"service-account-private-key-file": key} if TOKENS in controllers else {}),  # without, it does not run
            "controllers": ",".join(controllers),
            "leader-elect": "false",
            "min-resync-period": "30s",
        }
        process = self._start(folder, "kube-controller-manager", flags)
        certificate = folder / "controllers" / "kube-controller-manager.crt"
        await_ready(
            process,
            folder / "kube-controller-manager.log",
            lambda: answers(f"https://127.0.0.1:{port}/healthz", certificate),
        )

    def _start(self, folder: Path, name: str, flags: dict[str, object]) -> subprocess.Popen[bytes]:
        command = [str(self._binaries / name), *(f"--{flag}={value}" for flag, value in flags.items())]
        log = self._stack.enter_context((folder / f"{name}.log").open("wb"))
        process = spawn(command, log, folder)
        self._stack.callback(stop, process)
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
